"""`python -m reid_ray.match`'s config: collections and local-feature methods, without training."""

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from reid_ray.config.fusion import Fusion, check_names
from reid_ray.config.matching import Matching
from reid_ray.config.models import Pretrained
from reid_ray.config.run import Run
from reid_ray.config.tune import Baselines, Scaling, Study


class MatchRun(Run):
    """Score local features on photo collections."""

    methods: Annotated[tuple[Matching, ...], Field(min_length=1)] = (Matching(),)
    pretrained: tuple[Pretrained, ...] = ()
    """Models for shortlists and fusions, scored without fine-tuning."""
    fusion: tuple[Fusion, ...] = ()
    """Methods that join others of this run."""
    actors: PositiveInt | None = None
    """Matching processes of one CPU each; none: one per CPU."""

    @model_validator(mode="after")
    def _names_are_known(self) -> "MatchRun":
        encoders = [model.name for model in self.pretrained]
        check_names(self.methods, self.fusion, encoders=encoders, trained=False, validated=True)
        return self

    def study(self) -> Study:
        """The same as a study without a grid, so that both are run and reported by the same code."""
        return Study(
            **self.kept(),
            grid=None,
            baselines=Baselines(random_init=False, matching=self.methods, pretrained=self.pretrained),
            fusion=self.fusion,
            scaling=Scaling(matching_actors=self.actors),
        )

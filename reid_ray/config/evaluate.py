"""`python -m reid_ray.evaluate`'s config: collections and models, without training."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from reid_ray.config.fusion import Fusion, check_names
from reid_ray.config.matching import Matching
from reid_ray.config.models import Pretrained
from reid_ray.config.run import Run
from reid_ray.config.tune import Baselines, Scaling, Study


class EvaluateRun(Run):
    """Score embedding Pretrained models on photo collections."""

    models: Annotated[tuple[Pretrained, ...], Field(min_length=1)]
    """Names of known models, or models of your own."""
    methods: tuple[Matching, ...] = ()
    """Local features to stand beside them."""
    fusion: tuple[Fusion, ...] = ()
    """Methods that join others of this run."""
    actors: PositiveInt | None = None
    """Embedding processes; none: one per CPU, or as many as the GPUs carry."""
    gpus_per_actor: NonNegativeFloat | None = None
    """None: 1 where there are GPUs; fractions share a GPU, 0 embeds on CPUs."""

    @model_validator(mode="after")
    def _names_differ(self) -> "EvaluateRun":
        names = [model.name for model in self.models]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"models must differ in their names, found twice: {twice}")
        check_names(self.methods, self.fusion, encoders=names, trained=False, validated=True)
        return self

    def study(self) -> Study:
        """The same as a study without a grid, so that both are run and reported by the same code."""
        return Study(
            **self.kept(),
            grid=None,
            baselines=Baselines(random_init=False, matching=self.methods, pretrained=self.models),
            fusion=self.fusion,
            scaling=Scaling(embedding_actors=self.actors, gpus_per_worker=self.gpus_per_actor),
        )

"""`python -m reid_ray.match`'s config: collections and local-feature methods, without training."""

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from reid_ray.config.base import Config
from reid_ray.config.datasets import Data, Name
from reid_ray.config.fusion import Fusion, check_names
from reid_ray.config.matching import Matching
from reid_ray.config.models import Pretrained
from reid_ray.config.tune import Baselines, Scaling, Study


class MatchRun(Config):
    """Score local features on photo collections."""

    name: Name
    data: Data
    methods: Annotated[tuple[Matching, ...], Field(min_length=1)] = (Matching(),)
    pretrained: tuple[Pretrained, ...] = ()
    """Models for shortlists and fusions, scored as they come."""
    fusion: tuple[Fusion, ...] = ()
    """Methods that join others of this run."""
    actors: PositiveInt | None = None
    """Matching processes of one CPU each; none: one per CPU."""
    storage: str = "runs"
    """Folder of everything that is written; on a cluster one that all nodes share, or s3://bucket/runs."""
    tracking_uri: str | None = None
    """MLflow server; none: SQLite below `storage`."""
    reports: str = "reports"
    top_k: PositiveInt = 10
    """Ranked references kept per query."""

    @model_validator(mode="after")
    def _names_are_known(self) -> "MatchRun":
        encoders = [model.name for model in self.pretrained]
        check_names(self.methods, self.fusion, encoders=encoders, trained=False, validated=True)
        return self

    def study(self) -> Study:
        """The same as a study without a grid, so that both are run and reported by the same code."""
        return Study(
            name=self.name,
            data=self.data,
            grid=None,
            baselines=Baselines(
                random_init=False, matching=self.methods, pretrained=self.pretrained
            ),
            fusion=self.fusion,
            scaling=Scaling(matching_actors=self.actors),
            storage=self.storage,
            tracking_uri=self.tracking_uri,
            reports=self.reports,
            top_k=self.top_k,
        )

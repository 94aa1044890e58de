"""`python -m reid_ray.evaluate`'s config: collections and models, without training."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator

from reid_ray.config.base import Config
from reid_ray.config.datasets import Data, Name
from reid_ray.config.fusion import Fusion, check_names
from reid_ray.config.matching import Matching
from reid_ray.config.models import Pretrained
from reid_ray.config.tune import Baselines, Scaling, Study


class EvaluateRun(Config):
    """Score embedding models as they come on photo collections."""

    name: Name
    data: Data
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
    storage: str = "runs"
    """Folder of everything that is written; on a cluster one that all nodes share, or s3://bucket/runs."""
    tracking_uri: str | None = None
    """MLflow server; none: SQLite below `storage`."""
    reports: str = "reports"
    top_k: PositiveInt = 10
    """Ranked references kept per query."""

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
            name=self.name,
            data=self.data,
            grid=None,
            baselines=Baselines(random_init=False, matching=self.methods, pretrained=self.models),
            fusion=self.fusion,
            scaling=Scaling(embedding_actors=self.actors, gpus_per_worker=self.gpus_per_actor),
            storage=self.storage,
            tracking_uri=self.tracking_uri,
            reports=self.reports,
            top_k=self.top_k,
        )

"""`python -m reid_ray.match`'s config: collections and local-feature methods, without training."""

from typing import Annotated

from pydantic import Field, PositiveInt, model_validator

from reid_ray.config.base import Config
from reid_ray.config.datasets import Data, Name
from reid_ray.config.matching import Matching


class MatchRun(Config):
    """Score local features on photo collections."""

    name: Name
    data: Data
    methods: Annotated[tuple[Matching, ...], Field(min_length=1)] = (Matching(),)
    actors: PositiveInt | None = None
    """Matching processes of one CPU each; none: one per CPU."""
    top_k: PositiveInt = 10
    storage: str = "runs"

    @model_validator(mode="after")
    def _names_differ(self) -> "MatchRun":
        names = [method.name for method in self.methods]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"method names must differ, found twice: {twice}")
        return self

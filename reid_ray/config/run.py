"""What every run that ends in a report has: collections, and where results go."""

from typing import Any

from pydantic import PositiveInt

from reid_ray.config.base import Config
from reid_ray.config.datasets import Data, Name


class Run(Config):
    name: Name
    data: Data
    storage: str = "runs"
    """Folder of everything that is written; on a cluster one that all nodes share, or s3://bucket/runs."""
    tracking_uri: str | None = None
    """MLflow server; none: SQLite below `storage`."""
    reports: str = "reports"
    """Folder of reports, or a URI as well."""
    top_k: PositiveInt = 10
    """Ranked references kept per query."""

    def kept(self) -> dict[str, Any]:
        """These settings, for a study that does what this run asks."""
        return {name: getattr(self, name) for name in Run.model_fields}

"""One training: collections, one setting, and where the model goes."""

from pydantic import PositiveInt

from reid_ray.config.base import Config
from reid_ray.config.datasets import Data, Name
from reid_ray.config.training import ArcFace, Training, Trial
from reid_ray.config.tune import ArcFaceGrid, Baselines, Grid, Scaling, Study, TripletGrid


class TrainRun(Config):
    """`python -m reid_ray.train`'s config."""

    name: Name
    data: Data
    trial: Trial
    scaling: Scaling = Scaling()
    untrained: bool = True
    """Also score the backbone before training: what its architecture alone is worth."""
    storage: str = "runs"
    """Folder of everything that is written; on a cluster one that all nodes share, or s3://bucket/runs."""
    tracking_uri: str | None = None
    """MLflow server; none: SQLite below `storage`."""
    reports: str = "reports"
    top_k: PositiveInt = 10
    """Ranked references kept per query."""

    def study(self) -> Study:
        """The same as a study of one trial, so that both are run by the same code."""
        loss = self.trial.loss
        arcface = triplet = None
        if isinstance(loss, ArcFace):
            arcface = ArcFaceGrid(margins_rad=(loss.margin_rad,), scales=(loss.scale,))
        else:
            triplet = TripletGrid(minings=(loss.mining,), margins=(loss.margin,))
        shared = {name: getattr(self.trial, name) for name in Training.model_fields}
        return Study(
            name=self.name,
            data=self.data,
            grid=Grid(
                backbones=(self.trial.backbone,),
                lrs=(self.trial.lr,),
                arcface=arcface,
                triplet=triplet,
            ),
            training=Training(**shared),
            baselines=Baselines(random_init=self.untrained, matching=()),
            scaling=self.scaling.model_copy(update={"winner_workers": 0}),
            storage=self.storage,
            tracking_uri=self.tracking_uri,
            reports=self.reports,
            top_k=self.top_k,
        )

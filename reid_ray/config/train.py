"""One training: collections, one setting, and where the model goes."""

from reid_ray.config.run import Run
from reid_ray.config.training import ArcFace, Training, Trial
from reid_ray.config.tune import ArcFaceGrid, Baselines, Grid, Scaling, Study, TripletGrid


class TrainRun(Run):
    """`python -m reid_ray.train`'s config."""

    trial: Trial
    scaling: Scaling = Scaling()
    untrained: bool = True
    """Also score the backbone before training: what its architecture alone is worth."""

    def study(self) -> Study:
        """The same as a study of one trial, so that both are run by the same code."""
        loss = self.trial.loss
        arcface = triplet = None
        if isinstance(loss, ArcFace):
            arcface = ArcFaceGrid(margins_rad=(loss.margin_rad,), scales=(loss.scale,))
        else:
            triplet = TripletGrid(minings=(loss.mining,), margins=(loss.margin,), distance=loss.distance)
        shared = {name: getattr(self.trial, name) for name in Training.model_fields}
        return Study(
            **self.kept(),
            grid=Grid(
                backbones=(self.trial.backbone,), lrs=(self.trial.lr,), arcface=arcface, triplet=triplet
            ),
            training=Training(**shared),
            baselines=Baselines(random_init=self.untrained, matching=()),
            scaling=self.scaling.model_copy(update={"confirmation_workers": 0}),
        )

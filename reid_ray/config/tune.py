"""A study: collections, a grid of training settings, baselines, and where results go."""

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from reid_ray.config.base import Config
from reid_ray.config.candidate_sets import ALL, CandidateSets
from reid_ray.config.fusion import Fusion, check_names
from reid_ray.config.matching import Matching
from reid_ray.config.models import Pretrained
from reid_ray.config.run import Run
from reid_ray.config.training import ArcFace, Backbone, Loss, Training, Trial, Triplet, TripletDistance
from reid_ray.config.transfer import Transfer


class ArcFaceGrid(Config):
    margins_rad: tuple[float, ...] = (0.25, 0.5, 0.75)
    scales: tuple[float, ...] = (32.0, 64.0, 128.0)


class TripletGrid(Config):
    minings: tuple[Literal["all", "semi", "hard"], ...] = ("all", "semi", "hard")
    margins: tuple[float, ...] = (0.1, 0.2, 0.3)
    distance: TripletDistance = "l2_squared"
    """Between unit vectors: `l2_squared` as in the authors' wildlife-tools, or `l2`."""


class Grid(Config):
    """Backbone x learning rate x (ArcFace margin x scale + Triplet mining x margin).

    The defaults are the paper's 2 x 2 x (9 + 9) = 72 points (arXiv 2311.09118, table 3).
    """

    backbones: Annotated[tuple[Backbone, ...], Field(min_length=1)] = (
        "swin_base_patch4_window7_224",
        "efficientnet_b3",
    )
    lrs: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.01, 0.001)
    arcface: ArcFaceGrid | None = ArcFaceGrid()
    triplet: TripletGrid | None = TripletGrid()

    def losses(self) -> list[Loss]:
        """Every loss setting of both arms."""
        losses: list[Loss] = []
        if self.arcface:
            losses += [
                ArcFace(name="arcface", margin_rad=margin, scale=scale)
                for margin in self.arcface.margins_rad
                for scale in self.arcface.scales
            ]
        if self.triplet:
            losses += [
                Triplet(name="triplet", mining=mining, margin=margin, distance=self.triplet.distance)
                for mining in self.triplet.minings
                for margin in self.triplet.margins
            ]
        return losses

    def expand(self, shared: Training) -> list[Trial]:
        """All points, in a fixed order, each with the study's shared settings."""
        common = shared.model_dump(exclude={"weights"})
        return [
            Trial(**common, weights=shared.weights_of(backbone), backbone=backbone, loss=loss, lr=lr)
            for backbone in self.backbones
            for loss in self.losses()
            for lr in self.lrs
        ]


Search = Literal["grid", "asha"]


class Asha(Config):
    """Stop weak trials early (asynchronous successive halving, Li et al. 2020).

    Whenever a trial has trained for grace_epochs x reduction^k epochs, its validation top-1 must be among
    the best 1/reduction of all trials that came as far before it.
    """

    grace_epochs: PositiveInt = 10
    """Epochs that every trial gets."""
    reduction: Annotated[float, Field(gt=1)] = 3.0

    def rungs(self, epochs: int) -> frozenset[int]:
        """The first epoch at or after each grace_epochs x reduction^k, before the last of `epochs`."""
        found, at = set(), float(self.grace_epochs)
        while at < epochs:
            found.add(math.ceil(at))
            at *= self.reduction
        return frozenset(found)


class Baselines(Config):
    """What trained models are compared with."""

    random_init: bool = True
    """Each backbone before training: what its architecture alone is worth."""
    matching: tuple[Matching, ...] = (Matching(),)
    pretrained: tuple[Pretrained, ...] = ()
    """Names of known models (`MegaDescriptor-L-384`), or models of your own."""


class Scaling(Config):
    """How work is spread. The defaults fit one machine; raise them on a cluster."""

    workers: NonNegativeInt = 0
    """0: each trial trains inside its own Tune actor; n: each trial is Ray Train DDP on n workers."""
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeFloat | None = None
    """None: 1 where the cluster has GPUs, else 0; fractions share a GPU."""
    max_concurrent: PositiveInt | None = None
    """Trials at a time; none: as many as fit."""
    confirmation_workers: NonNegativeInt = 2
    """The selected trial is trained once more under DDP on so many workers, to show that both agree; 0
    disables it."""
    matching_actors: PositiveInt | None = None
    """None: one per free CPU."""
    embedding_actors: PositiveInt | None = None
    """Processes that embed with Pretrained models; none: one per CPU, or as many as GPUs carry."""
    ask_gpus: NonNegativeInt = 0
    """GPUs that an autoscaling cluster is asked for, and keeps while the study runs. Work starts when one
    trial fits; as many trials run at a time as fit then or, with more machines, will."""
    ask_cpus: NonNegativeInt = 0
    """The same of CPUs."""
    wait_s: PositiveFloat = 1200.0
    """How long the first of these are waited for."""


class Study(Run):
    """`python -m reid_ray.tune`'s config."""

    scope: Literal["joint", "per_dataset"] = "joint"
    """`joint`: one model on all seen datasets; `per_dataset`: each by itself (the paper's ablation)."""
    grid: Grid | None = Grid()
    """Omit to train nothing and score baselines alone."""
    search: Search = "grid"
    """`grid`: every trial to its end (the paper); `asha`: weak ones are stopped early, see `asha`."""
    asha: Asha = Asha()
    training: Training = Training()
    transfer: Transfer | None = None
    """Also train with some species withheld, to see what is lost; omit to disable."""
    candidates: CandidateSets = ALL
    """Who may answer where a network of the grid is asked; other methods have these settings themselves."""
    baselines: Baselines = Baselines()
    fusion: tuple[Fusion, ...] = ()
    """Methods that join others of this study."""
    scaling: Scaling = Scaling()

    @model_validator(mode="after")
    def _grid_has_losses(self) -> "Study":
        if self.grid and not self.grid.losses():
            raise ValueError("grid has neither arcface nor triplet settings; give at least one")
        return self

    @model_validator(mode="after")
    def _weights_have_a_backbone(self) -> "Study":
        weights = self.training.weights
        if isinstance(weights, dict) and (unknown := sorted(set(weights) - set(self.backbones()))):
            raise ValueError(
                f"training.weights names no backbone of the grid: {unknown}; backbones are {self.backbones()}"
            )
        return self

    @model_validator(mode="after")
    def _something_learns_at_first(self) -> "Study":
        if self.grid and self.grid.triplet and self.training.frozen_epochs:
            raise ValueError(
                "training.frozen_epochs: meanwhile the class centres of ArcFace learn, and triplet losses "
                "have none; set it to 0, or grid.triplet: null"
            )
        return self

    @model_validator(mode="after")
    def _asha_can_judge(self) -> "Study":
        split = self.data.split
        if self.search == "asha" and not split.validation_share and split.kind != "given":
            raise ValueError(
                "search: asha judges trials by photos of the validation slice, and "
                "data.split.validation_share is 0; set it above 0 (0.2, say), or search: grid"
            )
        if self.search == "asha" and self.asha.grace_epochs >= self.training.epochs:
            raise ValueError(
                f"asha.grace_epochs is {self.asha.grace_epochs} of {self.training.epochs} epochs, so no "
                "trial could be stopped; lower it, or set search: grid"
            )
        return self

    @model_validator(mode="after")
    def _transfer_can_train(self) -> "Study":
        if self.transfer is None:
            return self
        if self.grid is None:
            raise ValueError("transfer trains models, and grid is null; give a grid")
        share = self.data.split.validation_share
        if "grid" in self.transfer.settings and not share and self.data.split.kind != "given":
            raise ValueError(
                "transfer.settings grid: each variant takes its best setting by its own validation "
                "photos, and data.split.validation_share is 0; set it above 0, or settings: [selected_trial]"
            )
        if not self.data.groups_by_photo:
            pairs = {(dataset.name, dataset.domain_group) for dataset in self.data.datasets}
            self.transfer.refuse_empty(pairs, self.data.unseen)
        return self

    @model_validator(mode="after")
    def _names_are_known(self) -> "Study":
        check_names(
            self.baselines.matching,
            self.fusion,
            encoders=self.encoders(),
            trained=self.grid is not None,
            validated=self.data.split.validation_share > 0 or self.data.split.kind == "given",
        )
        return self

    def encoders(self) -> list[str]:
        """Names of the models that are scored without fine-tuning."""
        untrained = self.backbones() if self.baselines.random_init else ()
        return [
            *(f"{name} untrained" for name in untrained),
            *(model.name for model in self.baselines.pretrained),
        ]

    def trials(self) -> list[Trial]:
        """The grid, expanded."""
        return self.grid.expand(self.training) if self.grid else []

    def backbones(self) -> tuple[str, ...]:
        return self.grid.backbones if self.grid else ()

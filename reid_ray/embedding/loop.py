"""Train one setting of the grid.

In: prepared photos with identity numbers, and a `Worker`. Out: the trained model, one report per
epoch. The same function runs alone, under plain torch.distributed and under Ray Train.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid_ray.config.training import Trial
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import backbones, checkpoint
from reid_ray.embedding.augment import TrainTransform
from reid_ray.embedding.batchnorm import keep_statistics
from reid_ray.embedding.calibration import Way, calibrated
from reid_ray.embedding.context import Worker
from reid_ray.embedding.feeding import Waiting, ahead
from reid_ray.embedding.model import ReidModel
from reid_ray.embedding.samplers import epoch_plan
from reid_ray.embedding.selection import Selection
from reid_ray.embedding.step import backward
from reid_ray.embedding.validation import NO_VALIDATION, Row, Validation
from reid_ray.errors import ConfigError, ReidError

Index = NDArray[np.int64]

_CHECK_EVERY = 50
"""Steps between looks at the loss, each of which makes a GPU wait."""


class Diverged(ReidError):
    """The loss is no longer a number: a result of this setting, not a fault."""


@dataclass(frozen=True)
class TrainSet:
    """Photos to learn from.

    Attributes:
        images: all photos of the study.
        positions: int64 [n], which of them are trained on.
        labels: int64 [n], their identity numbers, 0 .. classes - 1.
    """

    images: PreparedImages
    positions: Index
    labels: Index

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Trained:
    """What a training leaves in memory.

    Attributes:
        model: in evaluation mode; on rank 0 with the chosen epoch's weights.
        epoch: 1-based, the one chosen.
        validation: its figures; empty where there was nothing to validate on.
        way: how it was computed.
    """

    model: ReidModel
    epoch: int
    validation: Row
    way: Way


def train(
    trial: Trial,
    data: TrainSet,
    worker: Worker,
    *,
    weights: str,
    report: Callable[[Row], None],
    validation: Validation = NO_VALIDATION,
    folder: Path | None = None,
    parts: int = 1,
) -> Trained:
    """Train for all epochs, going on from the last whole checkpoint in `folder` if there is one.

    Args:
        weights: as `backbones.resolve_weights` decided.
        report: called on every rank after each epoch with epoch (1-based), loss, lr, seconds, the
            share of them spent waiting for input, and what `validation` gave.
        folder: where rank 0 keeps the checkpoint; None: nowhere.
        parts: each part of a batch is divided into so many more, as memory demands; the gradients stay
            those of the whole batch, but BatchNorm, where there is any, normalises by smaller parts.

    Raises:
        Diverged: the loss became NaN or infinite; on all ranks alike.
        StorageError: a checkpoint cannot be written.
    """
    way = checkpoint.way_of(folder) if folder else None
    session = _Session.start(trial, data, worker, weights, parts, way)
    state, selection = session.state, session.state.selection
    first = checkpoint.resume(folder, state) if folder else 0
    every = validation.every(trial, _plan(trial, data, 0).size)
    with checkpoint.Saver(folder if worker.rank == 0 else None, trial.checkpoint_every_s) as saver:
        for epoch in range(first + 1, trial.epochs + 1):
            if worker.agreed(selection.stop):
                break
            row = session.epoch(epoch - 1)
            last = epoch == trial.epochs
            judged = last or epoch % every == 0
            if judged or epoch in validation.rungs:
                row |= (found := validation.figures(session.model.encoder))
                if judged and worker.rank == 0:
                    selection.see(epoch, found, session.model)
            saver.offer(state, epoch=epoch, last=last or selection.stop)
            report(row)
    selection.apply(session.model)
    return Trained(session.model.eval(), selection.epoch, selection.validation, state.way)


@dataclass(frozen=True)
class _Session:
    """Everything one rank holds while it trains."""

    trial: Trial
    data: TrainSet
    worker: Worker
    model: ReidModel
    wrapped: nn.Module
    state: checkpoint.Training
    cut: TrainTransform
    stepped: Trial

    @classmethod
    def start(
        cls, trial: Trial, data: TrainSet, worker: Worker, weights: str, parts: int, way: Way | None
    ) -> "_Session":
        stepped = trial.model_copy(update={"accumulation": trial.accumulation * parts})
        _check_divisible(stepped, worker)
        _check_start(trial, weights)
        torch.manual_seed(trial.seed)
        backbone = backbones.build(trial.backbone, weights=weights, input_px=trial.input_px)
        model = ReidModel(trial, backbone, classes=data.classes).to(worker.device)
        if trial.learn is not None:
            only(trial.learn, model.encoder.backbone, trial.backbone)
        if way is None:
            photos = trial.batch_size // (stepped.accumulation * worker.world)
            steps = trial.epochs * len(_plan(trial, data, 0))
            way = calibrated(trial, worker, model, photos=photos, steps=steps)
        way.take(model)
        wrapped = worker.wrap(model)
        learning = [one for one in wrapped.parameters() if one.requires_grad]
        optimizer = torch.optim.SGD(
            learning, lr=trial.lr, momentum=trial.momentum, fused=worker.device.type == "cuda"
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            optimizer, trial.epochs, eta_min=trial.lr * trial.lr_floor
        )
        state = checkpoint.Training(trial, model, optimizer, schedule, Selection(trial), way)
        cut = TrainTransform(trial.augment, px=trial.input_px, seed=trial.seed)
        return cls(trial, data, worker, model, wrapped, state, cut, stepped)

    def epoch(self, epoch: int) -> Row:
        """One pass over the plan."""
        trial, optimizer = self.trial, self.state.optimizer
        # Dropout and drop-path draw from here; set anew each epoch, so that resuming is exact.
        torch.manual_seed((trial.seed * 1_000_003 + epoch) * 65_537 + self.worker.rank)
        self.wrapped.train()
        frozen = epoch < trial.frozen_epochs
        if frozen:
            self.model.encoder.backbone.eval()
        if trial.batch_norm == "kept":
            keep_statistics(self.wrapped)
        plan = _plan(trial, self.data, epoch)
        lr, total = optimizer.param_groups[0]["lr"], torch.zeros((), device=self.worker.device)
        batches = Waiting(ahead(partial(self._cut, plan, epoch), len(plan), threads=self.worker.cutters))
        for number, (photos, labels) in enumerate(batches, 1):
            optimizer.zero_grad(set_to_none=True)
            total += self._backward(photos, labels)
            if frozen:
                # What has no gradient is not stepped. DDP wants all of them, so they are forgotten only here.
                self.model.encoder.backbone.zero_grad(set_to_none=True)
            optimizer.step()
            if number % _CHECK_EVERY == 0 or number == len(plan):
                self._check(total, epoch)
        self.state.schedule.step()
        return {
            "epoch": float(epoch + 1),
            "lr": lr,
            "loss": self.worker.mean(total) / len(plan),
            "seconds": batches.seconds,
            "input_wait": batches.waited / max(batches.seconds, 1e-9),
        }

    def _check(self, total: Tensor, epoch: int) -> None:
        """Once a loss is not finite, the sum of losses never is again."""
        loss = self.worker.mean(total)
        if not math.isfinite(loss):
            raise Diverged(f"loss became {loss} in epoch {epoch + 1}")

    def _cut(self, plan: Index, epoch: int, number: int) -> tuple[Tensor, Tensor]:
        """This rank's inputs uint8 [n, 3, px, px] and labels [n] of batch `number`."""
        mine = np.arange(self.worker.rank, self.trial.batch_size, self.worker.world)
        rows, places = plan[number][mine], mine + number * self.trial.batch_size
        positions = self.data.positions[rows].tolist()
        photos = self.cut(self.data.images, positions, epoch=epoch, places=places.tolist())
        labels = torch.from_numpy(self.data.labels[rows])
        if self.worker.device.type == "cuda":
            return photos.pin_memory(), labels.pin_memory()
        return photos, labels

    def _backward(self, photos: Tensor, labels: Tensor) -> Tensor:
        photos = photos.to(self.worker.device, non_blocking=True)
        labels = labels.to(self.worker.device, non_blocking=True)
        return backward(self.stepped, self.worker, self.model, photos, labels, wrapped=self.wrapped)


def _plan(trial: Trial, data: TrainSet, epoch: int) -> Index:
    return epoch_plan(
        data.labels,
        batch_size=trial.batch_size,
        seed=trial.seed,
        epoch=epoch,
        photos_per_identity=trial.photos_per_identity if trial.balanced else None,
    )


def only(pattern: str, backbone: nn.Module, name: str) -> None:
    """Let only those parameters learn in whose names the pattern is found.

    Raises:
        ConfigError: it is in no name.
    """
    names = [one for one, _ in backbone.named_parameters()]
    if not any(re.search(pattern, one) for one in names):
        raise ConfigError(
            f"training.learn {pattern!r} is in the name of no parameter of {name}; its last ones are "
            f"{', '.join(names[-4:])}"
        )
    for one, value in backbone.named_parameters():
        value.requires_grad_(bool(re.search(pattern, one)))


def _check_start(trial: Trial, weights: str) -> None:
    """Refuse what would keep random weights as they are."""
    kept = {
        "batch_norm: kept": trial.batch_norm == "kept",
        "learn": trial.learn is not None,
        "frozen_epochs": trial.frozen_epochs > 0,
    }
    for name, used in kept.items():
        if used and weights == "random":
            raise ConfigError(
                f"training.{name} needs pretrained weights, and {trial.backbone} starts from random ones, "
                f"which would stay as they are; set training.weights, or leave out {name.split(':')[0]}"
            )


def _check_divisible(trial: Trial, worker: Worker) -> None:
    parts = trial.accumulation * worker.world
    if trial.batch_size % parts:
        raise ConfigError(
            f"batch_size {trial.batch_size} cannot be divided over {worker.world} workers x "
            f"{trial.accumulation} accumulation steps; choose a multiple of {parts}"
        )

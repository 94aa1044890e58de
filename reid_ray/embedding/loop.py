"""Train one setting of the grid.

In: prepared photos with identity numbers, and a `Worker`. Out: the trained model, one report per epoch.
The same function runs alone, under plain torch.distributed and under Ray Train.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid_ray.config.training import Trial
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import backbones, checkpoint
from reid_ray.embedding.augment import TrainCut
from reid_ray.embedding.context import Worker
from reid_ray.embedding.model import Encoder, ReidModel
from reid_ray.embedding.samplers import epoch_plan
from reid_ray.errors import ConfigError, ReidError

Row = dict[str, float]
Index = NDArray[np.int64]


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


def train(
    trial: Trial,
    data: TrainSet,
    worker: Worker,
    *,
    weights: str,
    report: Callable[[Row], None],
    validate: Callable[[Encoder], Row] = lambda _: {},
    folder: Path | None = None,
    save_every_s: float = 30.0,
) -> ReidModel:
    """Train for all epochs, going on from the last whole checkpoint in `folder` if there is one.

    Args:
        weights: as `backbones.resolve_weights` decided.
        report: called on every rank after each epoch with epoch (1-based), loss, lr, seconds, and what
            `validate` gave.
        validate: called on rank 0 with the encoder every `validate_every` epochs and after the last;
            it may look at a slice of the reference set, never at the query set.
        folder: where rank 0 keeps the checkpoint; None: nowhere.

    Raises:
        Diverged: the loss became NaN or infinite.
    """
    session = _Session.start(trial, data, worker, weights)
    optimizer, schedule = session.optimizer, session.schedule
    first = checkpoint.resume(folder, trial, session.model, optimizer, schedule) if folder else 0
    saved_at = time.monotonic()
    for epoch in range(first, trial.epochs):
        started = time.monotonic()
        row = {"epoch": float(epoch + 1), "lr": optimizer.param_groups[0]["lr"], "loss": session.epoch(epoch)}
        schedule.step()
        row["seconds"] = time.monotonic() - started
        if worker.rank == 0:
            last = epoch + 1 == trial.epochs
            if last or (epoch + 1) % trial.validate_every == 0:
                row |= validate(session.model.encoder)
            if folder and (last or time.monotonic() - saved_at >= save_every_s):
                checkpoint.save(folder, trial, session.model, optimizer, schedule, epoch=epoch + 1)
                saved_at = time.monotonic()
        report(row)
    return session.model.eval()


@dataclass(frozen=True)
class _Session:
    """Everything one rank holds while it trains."""

    trial: Trial
    data: TrainSet
    worker: Worker
    model: ReidModel
    wrapped: nn.Module
    step: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    cut: TrainCut

    @classmethod
    def start(cls, trial: Trial, data: TrainSet, worker: Worker, weights: str) -> "_Session":
        _check_divisible(trial, worker)
        torch.manual_seed(trial.seed)
        backbone = backbones.build(trial.backbone, weights=weights, input_px=trial.input_px)
        model = ReidModel(trial, backbone, classes=data.classes).to(worker.device)
        if worker.device.type == "cuda":
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        wrapped = worker.wrap(model)
        optimizer = torch.optim.SGD(wrapped.parameters(), lr=trial.lr, momentum=trial.momentum)
        return cls(
            trial=trial,
            data=data,
            worker=worker,
            model=model,
            wrapped=wrapped,
            step=torch.compile(wrapped) if trial.compile else wrapped,  # type: ignore[arg-type]
            optimizer=optimizer,
            schedule=torch.optim.lr_scheduler.CosineAnnealingLR(
                optimizer, trial.epochs, eta_min=trial.lr * trial.lr_floor
            ),
            cut=TrainCut(trial.augment, px=trial.input_px, seed=trial.seed),
        )

    def epoch(self, epoch: int) -> float:
        """One pass over the plan; the mean loss."""
        trial, worker = self.trial, self.worker
        # Drop-path and dropout draw from here; set anew each epoch so that a resumed run goes on exactly.
        torch.manual_seed((trial.seed * 1_000_003 + epoch) * 65_537 + worker.rank)
        self.wrapped.train()
        k = trial.photos_per_identity if trial.balanced else None
        plan = epoch_plan(
            self.data.labels, batch_size=trial.batch_size, seed=trial.seed, epoch=epoch, photos_per_identity=k
        )
        mine = np.arange(worker.rank, trial.batch_size, worker.world)
        total = 0.0
        for number, batch in enumerate(plan):
            photos, labels = self._load(batch[mine], mine + number * trial.batch_size, epoch)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._backward(photos, labels)
            if not math.isfinite(loss):
                raise Diverged(f"loss became {loss} in epoch {epoch + 1}")
            self.optimizer.step()
            total += loss
        return total / len(plan)

    def _load(self, rows: Index, places: Index, epoch: int) -> tuple[Tensor, Tensor]:
        """Inputs uint8 [n, 3, px, px] and labels [n] on the worker's device."""
        positions = self.data.positions[rows].tolist()
        photos = self.cut(self.data.images, positions, epoch=epoch, places=places.tolist())
        labels = torch.from_numpy(self.data.labels[rows])
        return photos.to(self.worker.device), labels.to(self.worker.device)

    def _backward(self, photos: Tensor, labels: Tensor) -> float:
        """Gradients of the mean loss over the micro-batches of one optimiser step.

        The released research code summed them, so that its effective learning rate grew with the number
        of accumulation steps; dividing makes k micro-batches equal to one large batch for ArcFace.
        Triplet mining sees one micro-batch of all workers at a time.
        """
        parts = self.trial.accumulation
        total = 0.0
        for part in range(parts):
            mine = slice(part * len(photos) // parts, (part + 1) * len(photos) // parts)
            with self.worker.no_sync(self.wrapped, when=part + 1 < parts):
                with _autocast(self.trial, self.worker):
                    loss = self.step(photos[mine], labels[mine]) / parts
                loss.backward()
            total += float(loss.detach())
        return total


def _check_divisible(trial: Trial, worker: Worker) -> None:
    parts = trial.accumulation * worker.world
    if trial.batch_size % parts:
        raise ConfigError(
            f"batch_size {trial.batch_size} cannot be divided over {worker.world} workers x "
            f"{trial.accumulation} accumulation steps; choose a multiple of {parts}"
        )


def _autocast(trial: Trial, worker: Worker) -> torch.autocast:
    bf16 = trial.precision == "bf16" or (trial.precision == "auto" and worker.device.type == "cuda")
    return torch.autocast(worker.device.type, dtype=torch.bfloat16, enabled=bf16)

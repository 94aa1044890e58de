"""Save and resume training so that a killed run ends with the same weights.

A checkpoint is a folder whose manifest is written last and holds the sha256 of every file: a folder
that is half written, cut short or has a flipped bit is not used.
"""

import hashlib
import io
import logging
import pickle
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from reid_ray.config.training import Trial
from reid_ray.embedding.selection import Selection
from reid_ray.errors import StorageError
from reid_ray.runs import files, seals

MODEL, CHOSEN, STATE, MANIFEST = ("model.safetensors", "chosen.safetensors", "training.pt", "manifest.json")

_FOREIGN = (
    RuntimeError,
    pickle.UnpicklingError,
    SafetensorError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What loading raises where a file is whole, but not one of ours."""
_KEYS = {"trial", "epoch", "selection", "files", "sha256"}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Everything that a training goes on from."""

    trial: Trial
    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    selection: Selection


def save(folder: Path, training: Training, *, epoch: int) -> None:
    """Replace the checkpoint by the state after `epoch` epochs.

    After the last one only the weights that are used are kept: nothing goes on from there.
    """
    chosen = training.selection.weights
    if epoch >= training.trial.epochs:
        contents = {MODEL: _bytes(chosen or training.model.state_dict())}
    else:
        state = io.BytesIO()
        torch.save(
            {"optimizer": training.optimizer.state_dict(), "schedule": training.schedule.state_dict()}, state
        )
        contents = {MODEL: _bytes(training.model.state_dict()), STATE: state.getvalue()}
        if chosen is not None:
            contents[CHOSEN] = _bytes(chosen)
    # Names carry the epoch, so that the files of the manifest in force are never overwritten.
    names = {name: f"{epoch:04d}-{name}" for name in contents}
    for name, data in contents.items():
        files.write_bytes(folder / names[name], data)
    manifest = {
        "trial": training.trial.digest(),
        "epoch": epoch,
        "selection": training.selection.state(),
        "files": names,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    files.write_json(folder / MANIFEST, seals.sealed(manifest))
    for name in files.entries(folder):
        if name not in {MANIFEST, *names.values()}:
            files.remove(folder / name)


class Saver:
    """Saves now and then, so that saving takes at most `MOST_SHARE` of the time, however slow the storage.

    Args:
        folder: None saves nowhere.
        every_s: least time between two checkpoints; 0: every one that may be made is made.
    """

    MOST_SHARE = 0.05

    def __init__(self, folder: Path | None, every_s: float) -> None:
        self._folder, self._every_s = folder, every_s
        self._saved_at, self._took_s = time.monotonic(), 0.0

    @property
    def due(self) -> bool:
        least = max(self._every_s, self._took_s / self.MOST_SHARE) if self._every_s else 0.0
        return time.monotonic() - self._saved_at >= least

    def save(self, training: Training, *, epoch: int) -> None:
        """The state after `epoch` epochs."""
        if self._folder is not None:
            began = time.monotonic()
            save(self._folder, training, epoch=epoch)
            self._saved_at = time.monotonic()
            self._took_s = self._saved_at - began


def resume(folder: Path, training: Training) -> int:
    """Load the checkpoint if there is a whole one of this very trial; the number of epochs it has.

    Raises:
        StorageError: it is of another trial.
    """
    if not files.exists(folder / MANIFEST):
        return 0
    try:
        manifest, contents = _read(folder)
    except StorageError as error:
        log.warning("%s; training starts over", error)
        return 0
    if manifest["trial"] != training.trial.digest():
        raise StorageError(f"{folder}: checkpoint of another trial; use another folder or delete this one")
    try:
        training.model.load_state_dict(load(contents[MODEL]))
        if int(manifest["epoch"]) >= training.trial.epochs:
            training.selection.restore(manifest["selection"], None)
            return int(manifest["epoch"])
        # Nothing in it is executed, whoever wrote it. It may have been saved on a GPU that is not here, or
        # that another rank uses; the optimizer moves its state to where the parameters are.
        state = torch.load(io.BytesIO(contents[STATE]), weights_only=True, map_location="cpu")
        training.optimizer.load_state_dict(state["optimizer"])
        training.schedule.load_state_dict(state["schedule"])
        chosen = load(contents[CHOSEN]) if CHOSEN in contents else None
        training.selection.restore(manifest["selection"], chosen)
        return int(manifest["epoch"])
    except _FOREIGN as error:
        raise StorageError(
            f"{folder}: not a checkpoint of this training ({type(error).__name__}: "
            f"{str(error)[:200]}); delete it to start over"
        ) from None


def load_weights(folder: Path, model: nn.Module) -> None:
    """Load the chosen weights of a whole checkpoint.

    Raises:
        StorageError: none there, damaged, or of another architecture.
    """
    _load(folder, model, _chosen(folder))


def load_encoder(folder: Path, encoder: nn.Module) -> None:
    """Load the chosen weights without those of the loss; raises as `load_weights`."""
    weights = _chosen(folder)
    prefix = "encoder."
    _load(
        folder,
        encoder,
        {name[len(prefix) :]: value for name, value in weights.items() if name.startswith(prefix)},
    )


def _chosen(folder: Path) -> dict[str, Tensor]:
    _, contents = _read(folder)
    try:
        weights: dict[str, Tensor] = load(contents[CHOSEN] if CHOSEN in contents else contents[MODEL])
    except (SafetensorError, KeyError) as error:
        raise StorageError(f"{folder}: not a checkpoint ({error})") from None
    return weights


def _load(folder: Path, module: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        raise StorageError(f"{folder}: weights of another architecture ({str(error)[:200]})") from None


def _bytes(weights: dict[str, Tensor]) -> bytes:
    data: bytes = to_bytes({name: value.detach().cpu().contiguous() for name, value in weights.items()})
    return data


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    manifest = seals.unsealed(files.read_json(folder / MANIFEST), folder / MANIFEST)
    if not set(manifest) >= _KEYS:
        raise StorageError(f"{folder / MANIFEST}: not a checkpoint's manifest")
    contents = {}
    for name, file in manifest["files"].items():
        try:
            contents[name] = files.read_bytes(folder / file)
        except OSError as error:
            raise StorageError(f"{folder / file}: cannot be read ({error})") from None
        if hashlib.sha256(contents[name]).hexdigest() != manifest["sha256"].get(name):
            raise StorageError(f"{folder / file}: damaged, its sha256 is not the manifest's")
    return manifest, contents

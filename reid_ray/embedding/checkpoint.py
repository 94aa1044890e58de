"""Save and resume training so that a killed run ends with the same weights.

A checkpoint is a folder whose manifest is written last and holds the sha256 of every file: a folder that
is half written, cut short or has a flipped bit is not used.
"""

import hashlib
import io
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save as to_bytes
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from reid_ray.config.training import Trial
from reid_ray.errors import StorageError
from reid_ray.runs import files

MODEL, STATE, MANIFEST = "model.safetensors", "training.pt", "manifest.json"

log = logging.getLogger(__name__)


def save(
    folder: Path, trial: Trial, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler, *, epoch: int
) -> None:
    """Replace the checkpoint by the state after `epoch` epochs."""
    state = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}, state)
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    contents = {MODEL: to_bytes(weights), STATE: state.getvalue()}
    # Names carry the epoch, so that the files of the manifest in force are never overwritten.
    names = {name: f"{epoch:04d}-{name}" for name in contents}
    for name, data in contents.items():
        files.write_bytes(folder / names[name], data)
    manifest = {
        "trial": trial.digest(),
        "epoch": epoch,
        "files": names,
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()},
    }
    files.write_json(folder / MANIFEST, manifest)
    for path in folder.iterdir():
        if path.name not in {MANIFEST, *names.values()}:
            path.unlink(missing_ok=True)


def resume(
    folder: Path, trial: Trial, model: nn.Module, optimizer: Optimizer, schedule: LRScheduler
) -> int:
    """Load the checkpoint if there is a whole one of this very trial; the number of epochs it has."""
    if not (folder / MANIFEST).exists():
        return 0
    try:
        manifest, contents = _read(folder)
    except StorageError as error:
        log.warning("%s; training starts over", error)
        return 0
    if manifest["trial"] != trial.digest():
        raise StorageError(f"{folder}: checkpoint of another trial; use another folder or delete this one")
    model.load_state_dict(load(contents[MODEL]))
    state = torch.load(io.BytesIO(contents[STATE]), weights_only=True)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(manifest["epoch"])


def load_weights(folder: Path, model: nn.Module) -> None:
    """Load the weights of a whole checkpoint.

    Raises:
        StorageError: none there, damaged, or of another architecture.
    """
    _, contents = _read(folder)
    try:
        model.load_state_dict(load(contents[MODEL]))
    except RuntimeError as error:
        raise StorageError(f"{folder}: weights of another architecture ({str(error)[:200]})") from None


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    manifest = files.read_json(folder / MANIFEST)
    contents = {}
    for name, file in manifest["files"].items():
        try:
            contents[name] = (folder / file).read_bytes()
        except OSError as error:
            raise StorageError(f"{folder / file}: cannot be read ({error})") from None
        if hashlib.sha256(contents[name]).hexdigest() != manifest["sha256"][name]:
            raise StorageError(f"{folder / file}: damaged, its sha256 is not the manifest's")
    return manifest, contents

"""Save and resume training so that a killed run ends with the same weights.

A checkpoint is a folder whose manifest is written last and holds the sha256 of every file: a folder
that is half written, cut short or has a flipped bit is not used. Training only waits for a copy in
memory, which a thread writes.
"""

import hashlib
import io
import logging
import pickle
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from reid_ray.config.training import Trial
from reid_ray.embedding.calibration import Way
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
    way: Way = field(default_factory=Way)


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint will hold, in this machine's memory, where training does not change it.

    Attributes:
        weights: by name of the file, weights by name.
        state: of optimizer and schedule; None where nothing goes on from here.
        told: the manifest without its files.
    """

    weights: dict[str, dict[str, Tensor]]
    state: dict[str, Any] | None
    told: dict[str, Any]

    @classmethod
    def take(cls, training: Training, *, epoch: int) -> Self:
        """The state after `epoch` epochs; once training has ended, only the weights that are used."""
        selection = training.selection
        ended = epoch >= training.trial.epochs or selection.stop
        trial = training.trial.digest()
        told = {"trial": trial, "epoch": epoch, "ended": ended, "selection": selection.state()}
        told["way"] = asdict(training.way)
        # The chosen weights are a copy already, and replaced rather than changed.
        chosen = selection.weights
        if ended:
            return cls({MODEL: chosen or on_host(training.model.state_dict())}, None, told)
        weights = {MODEL: on_host(training.model.state_dict())} | ({CHOSEN: chosen} if chosen else {})
        state = {"optimizer": training.optimizer.state_dict(), "schedule": training.schedule.state_dict()}
        return cls(weights, on_host(state), told)

    def write(self, folder: Path) -> None:
        """Replace the checkpoint in `folder`, which is whole and in force until the last file is there."""
        contents = {name: _bytes(weights) for name, weights in self.weights.items()}
        if self.state is not None:
            state = io.BytesIO()
            torch.save(self.state, state)
            contents[STATE] = state.getvalue()
        # Names carry the epoch, so that the files of the manifest in force are never overwritten.
        names = {name: f"{self.told['epoch']:04d}-{name}" for name in contents}
        for name, data in contents.items():
            files.write_bytes(folder / names[name], data)
        sums = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        manifest = self.told | {"files": names, "sha256": sums}
        files.write_json(folder / MANIFEST, seals.sealed(manifest))
        for name in files.entries(folder):
            if name not in {MANIFEST, *names.values()}:
                files.remove(folder / name)


def remove(folder: Path) -> None:
    """Take a checkpoint away that nothing will go on from: first what says that it is one."""
    for name in sorted(files.entries(folder), key=lambda name: name != MANIFEST):
        files.remove(folder / name)


def on_host(value: Any) -> Any:
    """A copy of nested tensors in this machine's memory."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {name: on_host(one) for name, one in value.items()}
    return [on_host(one) for one in value] if isinstance(value, list) else value


class Saver:
    """Saves now and then, in a thread, so that training waits for a twentieth of the time at most.

    At most one checkpoint is under way. What went wrong with it is raised by the next call, or at the end.

    Args:
        folder: None saves nowhere.
        every_s: least time between two checkpoints; 0: every one that may be made is made.
    """

    MOST_SHARE = 0.05

    def __init__(self, folder: Path | None, every_s: float) -> None:
        self._folder, self._every_s = folder, every_s
        self._saved_at, self._waited_s = time.monotonic(), 0.0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._thread.shutdown()
        if kind is None:  # an error of the training itself comes first
            self._end()

    def offer(self, training: Training, *, epoch: int, last: bool) -> None:
        """Save the state after `epoch` epochs if it is time, and the `last` in any case.

        Raises:
            StorageError: the one before could not be written.
        """
        if self._under_way is not None and self._under_way.done():
            self._end()
        if self._folder is None or not (last or self._due):
            return
        began = time.monotonic()
        self._end()
        self._under_way = self._thread.submit(Snapshot.take(training, epoch=epoch).write, self._folder)
        self._saved_at = time.monotonic()
        self._waited_s = self._saved_at - began

    @property
    def _due(self) -> bool:
        if not self._every_s:
            return True
        least = max(self._every_s, self._waited_s / self.MOST_SHARE)
        return self._under_way is None and time.monotonic() - self._saved_at >= least

    def _end(self) -> None:
        """Wait for the one that is under way."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()


def way_of(folder: Path) -> Way | None:
    """How the training of a checkpoint is computed; None where none can tell."""
    with suppress(StorageError, *_FOREIGN):
        return Way(**seals.unsealed(files.read_json(folder / MANIFEST), folder / MANIFEST)["way"])
    return None


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
        if manifest.get("ended"):
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
    data: bytes = to_bytes({name: value.contiguous() for name, value in weights.items()})
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

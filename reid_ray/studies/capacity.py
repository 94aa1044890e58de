"""Find out that there is no room for the work before it starts. In: what is to be done. Out: notes.

Only what is surely too much is refused; what may be too much is told.
"""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from reid_ray import allotted
from reid_ray.config.training import Trial
from reid_ray.errors import ResourceError

if TYPE_CHECKING:
    from reid_ray.embedding.memory import Need

KEPT_FREE = 200 * 2**20
"""Bytes of disk that results, logs and MLflow take besides photos and checkpoints."""
_SHARED = 100 * 2**20
_MIB, _GIB = 2**20, 2**30


@dataclass(frozen=True)
class Room:
    """Bytes of this machine.

    Attributes:
        disk: free where the storage is.
        memory: all that is ours, of the container or batch job where there is one.
        available: free of it.
        shared: size of /dev/shm; None where there is none.
    """

    disk: int
    memory: int
    available: int
    shared: int | None


def look(storage: Path) -> Room:
    """What there is now; the storage need not be there yet."""
    there = next(path for path in (storage, *storage.parents) if path.exists())
    memory = psutil.virtual_memory()
    total = allotted.memory()
    shm = Path("/dev/shm")
    return Room(
        disk=shutil.disk_usage(there).free,
        memory=total,
        available=min(total, memory.available),
        shared=shutil.disk_usage(shm).total if shm.is_dir() else None,
    )


def refuse_full_disk(room: Room, storage: Path, *, photos: int, kept: int, short_px: int) -> None:
    """Room for prepared photos, of which `kept` bytes are there.

    Raises:
        ResourceError: not even square photos would fit.
    """
    needed = max(0, photos * short_px * short_px * 3 - kept) + KEPT_FREE
    if needed > room.disk:
        raise ResourceError(
            f"{storage}: {room.disk / _MIB:.0f} MiB free, and {photos} photos of {short_px} px with "
            f"results need at least {needed / _MIB:.0f} MiB; make room, set storage to a larger disk, or "
            "lower data.images.short_px"
        )


def check_trainings(
    room: Room, trials: Iterable[Trial], *, workers: int, at_once: int, on_gpu: bool, on_disk: bool
) -> list[str]:
    """Room for trainings that are still to be done, and their checkpoints.

    Args:
        workers: of one training. at_once: trainings side by side, on this machine.
        on_gpu: its memory is the card's, which is not looked at here.
        on_disk: checkpoints are kept on this machine's disk.

    Returns:
        Sentences on what may not fit.

    Raises:
        ResourceError: the checkpoints, or the weights of one training, surely do not.
    """
    left = list(trials)
    from reid_ray.embedding.memory import estimate  # tasks that prepare photos load this file, and no network

    needs = {trial.backbone: estimate(trial, workers=max(1, workers)) for trial in left}
    # Weights, momentum and the best weights so far; a new checkpoint is written beside the old one.
    disk = sum(needs[trial.backbone].state for trial in left) + KEPT_FREE
    if on_disk and disk > room.disk:
        raise ResourceError(
            f"checkpoints of {len(left)} trainings need {disk / _GIB:.1f} GiB, the disk of the storage has "
            f"{room.disk / _GIB:.1f} GiB free; make room or set storage to a larger disk"
        )
    notes = [] if on_gpu else _memory(room, needs, processes=max(1, workers) * at_once)
    if room.shared is not None and room.shared < _SHARED:
        notes.append(
            f"/dev/shm has {room.shared / _MIB:.0f} MiB, so Ray keeps shared data on disk, which is slow; "
            "start the container with a larger --shm-size"
        )
    return notes


def _memory(room: Room, needs: "dict[str, Need]", *, processes: int) -> list[str]:
    notes = []
    for backbone, need in needs.items():
        whole = need.state + need.activations
        if need.state > room.memory:
            raise ResourceError(
                f"{backbone}: weights, gradients and momentum are {need.state / _GIB:.1f} GiB, the machine "
                f"has {room.memory / _GIB:.1f} GiB; take a smaller backbone or a cluster"
            )
        if processes * whole > room.available:
            notes.append(
                f"{backbone}: {processes} processes of about {whole / _GIB:.1f} GiB may not fit into "
                f"{room.available / _GIB:.1f} GiB of free memory; lower scaling.max_concurrent or "
                "training.batch_size, or raise training.accumulation"
            )
    return notes

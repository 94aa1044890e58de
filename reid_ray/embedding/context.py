"""Who trains here: this process's rank among how many, and on which device."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from reid_ray.embedding.batchnorm import globalise

_MOST_CUTTERS = 8
_ROWS = 4096
"""Of each rank that are on rank 0's device at once, on their way."""


@dataclass(frozen=True)
class Worker:
    """One of `world` training processes. Alone by default.

    Attributes:
        cpus: cores that this process may keep busy.
    """

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    cpus: int = 1

    @classmethod
    def of_process_group(cls, device: torch.device, *, cpus: int = 1) -> "Worker":
        """The worker that torch.distributed, already initialised, says this process is."""
        return cls(dist.get_rank(), dist.get_world_size(), device, cpus)

    @property
    def cutters(self) -> int:
        """Threads that prepare batches ahead: none where the model itself needs the only core."""
        return min(self.cpus, _MOST_CUTTERS) if self.device.type == "cuda" else min(self.cpus - 1, 1)

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP where there are others; BatchNorm then sees the global batch, on any device."""
        if self.world == 1:
            return model
        model = globalise(model, self.device)
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def no_sync(self, model: nn.Module, *, when: bool) -> AbstractContextManager[None]:
        """Leave gradients unsynchronised inside; for all but the last of several passes."""
        if when and isinstance(model, DistributedDataParallel):
            context: AbstractContextManager[None] = model.no_sync()
            return context
        return nullcontext()

    def agreed(self, decision: bool) -> bool:
        """Rank 0's decision, on every rank."""
        if self.world == 1:
            return decision
        told = torch.tensor(float(decision), device=self.device)
        dist.broadcast(told, src=0)
        return bool(told)

    def mean(self, value: Tensor) -> float:
        """Mean over ranks, equal on all of them; not a number where it is none on any."""
        if self.world > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world
        return float(value)

    def rows(self, mine: NDArray[np.float32], counts: Sequence[int]) -> list[NDArray[np.float32]]:
        """The first `counts[r]` rows of each rank r, on rank 0; all ranks have rows of one length."""
        if self.world == 1:
            return [mine[: counts[0]]]
        parts: list[list[NDArray[np.float32]]] = [[] for _ in counts]
        for start in range(0, max(counts), _ROWS):
            size = min(_ROWS, max(counts) - start)
            sent = torch.zeros((size, mine.shape[1]), device=self.device)
            few = torch.from_numpy(mine[start : start + size])
            sent[: len(few)] = few.to(self.device)
            got = [torch.empty_like(sent) for _ in counts] if self.rank == 0 else None
            dist.gather(sent, got, dst=0)
            for part, count, values in zip(parts, counts, got or (), strict=False):
                part.append(values[: max(0, count - start)].cpu().numpy())
        return [np.concatenate(part) for part in parts if part]

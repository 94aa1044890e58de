"""Who trains here: this process's rank among how many, and on which device."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Worker:
    """One of `world` training processes. Alone by default."""

    rank: int = 0
    world: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def of_process_group(cls, device: torch.device) -> "Worker":
        """The worker that torch.distributed, already initialised, says this process is."""
        return cls(dist.get_rank(), dist.get_world_size(), device)

    def wrap(self, model: nn.Module) -> nn.Module:
        """DDP where there are others.

        BatchNorm: on GPUs its statistics are those of the global batch (SyncBatchNorm); PyTorch has no
        such layer for the CPU, so there each worker normalises by its own part of the batch.
        """
        if self.world == 1:
            return model
        if self.device.type == "cuda":
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
            return DistributedDataParallel(model, device_ids=[self.device.index])
        return DistributedDataParallel(model)

    def no_sync(self, model: nn.Module, *, when: bool) -> AbstractContextManager[None]:
        """Leave gradients unsynchronised inside, for all but the last of several backward passes."""
        if when and isinstance(model, DistributedDataParallel):
            context: AbstractContextManager[None] = model.no_sync()
            return context
        return nullcontext()

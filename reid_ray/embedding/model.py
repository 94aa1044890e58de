"""Backbone and loss in one module: DDP sees every parameter, the loss sees the global batch."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from reid_ray.config.training import Trial
from reid_ray.embedding.backbones import Backbone
from reid_ray.embedding.losses import make_head


class Encoder(nn.Module):
    """Photos uint8 [n, 3, H, W] to features [n, d]; pixels are normalised here, on the device."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.module
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1) * 255, persistent=False)

    def forward(self, photos: Tensor) -> Tensor:
        features: Tensor = self.backbone((photos.float() - self.mean) / self.std)
        return features.to(self.mean.dtype)  # out of bf16, for the loss

    def embed(self, photos: Tensor) -> Tensor:
        """Unit vectors [n, d], for cosine similarity."""
        return nn.functional.normalize(self(photos))


class ReidModel(nn.Module):
    """Encoder and loss head: photos and labels of this rank in, loss of the global batch out.

    All that DDP has to see passes through `forward`.
    """

    def __init__(self, trial: Trial, backbone: Backbone, *, classes: int) -> None:
        super().__init__()
        self.encoder = Encoder(backbone)
        self.head = make_head(trial.loss, classes=classes, dims=backbone.dims)

    def forward(self, photos: Tensor, labels: Tensor | None = None) -> Tensor:
        """The loss, equal on every rank; without labels the features [n, d] of this rank."""
        features: Tensor = self.encoder(photos)
        if labels is None:
            return features
        # Angles and distances of nearly equal vectors do not bear bf16.
        with torch.autocast(photos.device.type, enabled=False):
            loss: Tensor = self.head(gather(features), gather(labels))
        return loss


def gather(values: Tensor) -> Tensor:
    """Concatenate equal-sized tensors of all ranks in rank order; gradients flow back."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return values
    if values.is_floating_point():
        gathered: Tensor = _Gather.apply(values)
        return gathered
    return torch.cat(_all_gather(values))


class _Gather(torch.autograd.Function):
    """all_gather whose backward sums what every rank's loss says of this rank's values.

    Each rank computes the same global loss, so the sum is world size times its gradient, and DDP's
    averaging over ranks makes it right again.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.rows = len(values)
        return torch.cat(_all_gather(values))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def _all_gather(values: Tensor) -> list[Tensor]:
    values = values.contiguous()
    parts = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, values)
    return parts

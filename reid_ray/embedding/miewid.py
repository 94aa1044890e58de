"""MiewID's network: EfficientNetV2-M, generalised-mean pooling, batch norm (Otarashvili et al. 2024).

In: a state dict of its authors, whose keys begin with `backbone.`, `pooling.` and `bn.`. Out: a module
[n, 3, H, W] -> [n, 2152]. Built from the description, and not checked against the published weights.
"""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

NAME = "miewid"
INPUT_PX = 440
HEAD = "final."
"""What its authors' file holds besides: the centres of the classes it was trained on."""
_BACKBONE = "efficientnetv2_rw_m"


class MiewId(nn.Module):
    """Feature maps, their generalised mean over places, batch norm."""

    pretrained_cfg: dict[str, Any] = {  # noqa: RUF012
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "interpolation": "bilinear",
        "input_size": (3, INPUT_PX, INPUT_PX),
    }

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model(_BACKBONE, pretrained=False, num_classes=0)
        self.num_features = int(self.backbone.num_features)
        self.pooling = _GeneralisedMean()
        self.bn = nn.BatchNorm1d(self.num_features)

    def forward(self, photos: Tensor) -> Tensor:
        normalised: Tensor = self.bn(self.pooling(self.backbone.forward_features(photos)))
        return normalised


class _GeneralisedMean(nn.Module):
    """(mean of x^p)^(1/p) over height and width, in float32 (Radenovic et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            mean = maps.float().clamp(min=1e-6).pow(self.p).mean(dim=(2, 3))
            return mean.pow(1 / self.p)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same with the exponent where it is kept here; some copies have it inside the backbone."""
    inside = "backbone.global_pool.p"
    return {("pooling.p" if name == inside else name): value for name, value in state.items()}

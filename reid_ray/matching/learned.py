"""Take DISK (Tyszkiewicz et al. 2020), ALIKED (Zhao et al. 2023) or XFeat (Potje et al. 2024) features with
kornia's networks.

In: uint8 RGB images, the user's own weights. Out: float descriptors of unit length, packed.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from kornia.feature import ALIKED, DISK, XFeat
from numpy.typing import NDArray
from torch import nn

from reid_ray.config.matching import Aliked, Disk
from reid_ray.config.matching import XFeat as XFeatConfig
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.weights import fill, read_weights

DISK_SOURCE = "DISK's weights (depth-save.pth or epipolar-save.pth of cvlab-epfl/disk)"
ALIKED_SOURCE = "ALIKED's weights of the same `model`, {model} (Shiaoming/ALIKED, models/{model}.pth)"
XFEAT_SOURCE = "XFeat's weights (xfeat.pt of verlab/accelerated_features)"

_COMPUTED = ("dkd.hw_grid", "num_batches_tracked")
"""Buffers that need not be in a file of weights."""
_AT_ONCE = {"cpu": 1, "cuda": 8}
"""Photos of one size that are taken together: on a CPU several are no faster, and need more memory."""


def load(config: Disk | Aliked | XFeatConfig) -> nn.Module:
    """The network with its weights, ready to use.

    Raises:
        WeightsError: missing, unreadable, or not the weights of this network.
    """
    net: nn.Module
    if isinstance(config, Disk):
        net, source, name = DISK(), DISK_SOURCE, "disk"
    elif isinstance(config, XFeatConfig):
        whole = XFeat(detection_threshold=config.threshold)
        tensors = read_weights(config.weights, of=XFEAT_SOURCE, name="xfeat")
        fill(whole.net, tensors, path=config.weights, of=XFEAT_SOURCE, computed=_COMPUTED)
        net = whole.eval()
        return net
    else:
        net = ALIKED(config.model, detection_threshold=config.threshold, nms_radius=config.nms_px)
        source, name = ALIKED_SOURCE.format(model=config.model), config.model
    found = read_weights(config.weights, of=source, name=name)
    return fill(net, found, path=config.weights, of=source, computed=_COMPUTED)


def extract(images: Iterable[NDArray[np.uint8]], config: Disk | Aliked | XFeatConfig) -> Features:
    """Features of RGB images [H, W, 3]; scales are 0, responses are the network's scores.

    On a GPU, where there is one, photos of one size are taken together.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = load(config).to(device)
    if isinstance(config, XFeatConfig):
        return Features.pack(_xfeat(image, net, config.max_keypoints, device) for image in images)
    options: dict[str, Any] = {}
    if isinstance(config, Disk):
        # kornia takes the window's side, which is odd.
        options = {
            "window_size": 2 * config.nms_px + 1,
            "score_threshold": config.threshold,
            "pad_if_not_divisible": True,
        }
    photos = list(images)
    found: dict[int, ImageFeatures] = {}
    for places in _of_one_size(photos, _AT_ONCE[device]):
        some = [photos[place] for place in places]
        for place, one in zip(places, _extract(some, net, options, device), strict=True):
            found[place] = one.strongest(config.max_keypoints)
    return Features.pack(found[place] for place in range(len(photos)))


def _of_one_size(photos: Sequence[NDArray[np.uint8]], most: int) -> Iterator[list[int]]:
    """Places of photos of one size, at most so many together."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for place, photo in enumerate(photos):
        by_size.setdefault(photo.shape, []).append(place)
    for places in by_size.values():
        yield from (places[at : at + most] for at in range(0, len(places), most))


@torch.inference_mode()
def _extract(
    images: Sequence[NDArray[np.uint8]], net: nn.Module, options: dict[str, Any], device: str
) -> list[ImageFeatures]:
    """Of photos of one size."""
    each = [torch.tensor(image, device=device).permute(2, 0, 1)[None].float() / 255 for image in images]
    values = torch.cat(each) if len(each) > 1 else each[0]
    height, width = images[0].shape[:2]
    parts = []
    for found in net(values, **options):
        # DISK and ALIKED name the same thing differently.
        scores = found.detection_scores if hasattr(found, "detection_scores") else found.keypoint_scores
        parts.append(
            ImageFeatures(
                found.descriptors.float().cpu().numpy(),
                found.keypoints.float().cpu().numpy(),
                np.zeros(found.n, np.float32),
                scores.float().cpu().numpy(),
                (width, height),
            )
        )
    return parts


@torch.inference_mode()
def _xfeat(image: NDArray[np.uint8], net: nn.Module, most: int | None, device: str) -> ImageFeatures:
    """XFeat has no `forward`, and keeps the best `most` by itself."""
    height, width = image.shape[:2]
    values = torch.tensor(image, device=device).permute(2, 0, 1)[None].float()
    (found,) = net.detectAndCompute(values, top_k=most or height * width)  # type: ignore[operator]
    return ImageFeatures(
        found["descriptors"].float().cpu().numpy(),
        found["keypoints"].float().cpu().numpy(),
        np.zeros(len(found["scores"]), np.float32),
        found["scores"].float().cpu().numpy(),
        (width, height),
    )

"""Cut model inputs out of prepared photos: at random for training, resized for evaluation.

In: uint8 [H, W, 3] of any size. Out: uint8 [n, 3, px, px]. No flip, which would swap an animal's
flanks.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from reid_ray.config.training import Augment
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.pixel_loops import operate
from reid_ray.embedding.randaugment import BINS, draw
from reid_ray.embedding.resize import Box, Pixels, resize

_TRIES = 10
_LOG_RATIOS = (math.log(3 / 4), math.log(4 / 3))


class TrainTransform:
    """RandomResizedCrop and RandAugment, as the paper trains.

    What is drawn for a photo depends on (seed, epoch, its place in the epoch) alone, so it is the
    same on any number of workers and after a resume.
    """

    def __init__(self, augment: Augment, *, px: int, seed: int) -> None:
        self.augment = augment
        self.px = px
        self.seed = seed

    def __call__(
        self, images: PreparedImages, positions: Sequence[int], *, epoch: int, places: Iterable[int]
    ) -> Tensor:
        """Inputs of `positions`, which stand at `places` in the order of this epoch."""
        batch = _room(len(positions), self.px)
        spare = _room(2, self.px)
        for out, position, place in zip(batch, positions, places, strict=True):
            rng = np.random.default_rng([self.seed, epoch, place])
            self._cut(images[position], rng, out, spare)
        return _to_tensor(batch)

    def _cut(self, image: Pixels, rng: np.random.Generator, out: Pixels, spare: Pixels) -> None:
        """Crop, then the operations."""
        box = random_crop(image.shape, rng, scale_min=self.augment.crop_scale_min)
        codes, signs = draw(rng, self.augment.ops)
        resize(image, box, spare[0] if len(codes) else out)
        if len(codes):
            operate(spare, out, codes, signs, self.augment.magnitude / (BINS - 1))


def resize_whole(images: PreparedImages, positions: Sequence[int], *, px: int) -> Tensor:
    """Resize to px x px whatever the shape, as the paper evaluates."""
    batch = _room(len(positions), px)
    for out, position in zip(batch, positions, strict=True):
        height, width, _ = images[position].shape
        resize(images[position], (0, 0, height, width), out)
    return _to_tensor(batch)


def random_crop(shape: tuple[int, ...], rng: np.random.Generator, *, scale_min: float) -> Box:
    """A crop: `scale_min`..1 of the area, side ratio 3/4..4/3.

    After ten tries that do not fit, the largest central crop of an allowed ratio (torchvision's
    rule).
    """
    height, width = shape[:2]
    for _ in range(_TRIES):
        area = height * width * (scale_min + (1 - scale_min) * rng.random())
        ratio = math.exp(_LOG_RATIOS[0] + (_LOG_RATIOS[1] - _LOG_RATIOS[0]) * rng.random())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def _room(photos: int, px: int) -> Pixels:
    return np.empty((photos, px, px, 3), np.uint8)


def _to_tensor(batch: Pixels) -> Tensor:
    """uint8 [n, 3, px, px], channels last in memory."""
    return torch.from_numpy(batch).permute(0, 3, 1, 2)

"""Cut model inputs out of prepared photos: at random for training, squashed for evaluation.

In: uint8 [H, W, 3] of any size. Out: uint8 [n, 3, px, px]. No flip, which would swap an animal's
flanks.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from reid_ray.config.training import Augment
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.randaugment import Pixels, rand_augment

_TRIES = 10
_LOG_RATIOS = (math.log(3 / 4), math.log(4 / 3))


class TrainCut:
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
        cuts = [
            self._cut(images[position], np.random.default_rng([self.seed, epoch, place]))
            for position, place in zip(positions, places, strict=True)
        ]
        return _to_batch(cuts)

    def _cut(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        top, left, height, width = random_crop(
            image.shape, rng, scale_min=self.augment.crop_scale_min
        )
        cut = resize(image[top : top + height, left : left + width], self.px)
        return rand_augment(cut, rng, ops=self.augment.ops, magnitude=self.augment.magnitude)


def squash(images: PreparedImages, positions: Sequence[int], *, px: int) -> Tensor:
    """Resize to px x px whatever the shape, as the paper evaluates."""
    return _to_batch([resize(images[position], px) for position in positions])


def resize(image: Pixels, px: int) -> Pixels:
    """Bilinear with antialiasing to px x px, as torchvision and Pillow do."""
    # Copied, as torch takes no read-only memory; the rows of a crop are not contiguous either.
    batch = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    sized = interpolate(batch, (px, px), mode="bilinear", antialias=True)
    resized: Pixels = sized[0].permute(1, 2, 0).numpy()
    return resized if resized.flags.c_contiguous else np.ascontiguousarray(resized)


def random_crop(
    shape: tuple[int, ...], rng: np.random.Generator, *, scale_min: float
) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop: `scale_min`..1 of the area, side ratio 3/4..4/3.

    After ten tries that do not fit, the largest central crop of an allowed ratio (torchvision's
    rule).
    """
    height, width = shape[:2]
    for _ in range(_TRIES):
        area = height * width * rng.uniform(scale_min, 1)
        ratio = math.exp(rng.uniform(*_LOG_RATIOS))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w


def _to_batch(cuts: Sequence[Pixels]) -> Tensor:
    """uint8 [n, 3, px, px], channels last in memory."""
    return torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2)

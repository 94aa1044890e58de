"""Cut model inputs out of prepared photos: at random for training, squashed for evaluation.

In: uint8 [H, W, 3] of any size. Out: uint8 [n, 3, px, px]. No flip, which would swap an animal's flanks.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms import v2

from reid_ray.config.training import Augment
from reid_ray.datasets.prepared import PreparedImages


class TrainCut:
    """RandomResizedCrop and RandAugment (Cubuk et al. 2020), as the paper trains.

    What is drawn for a photo depends on (seed, epoch, its place in the epoch) alone, so it is the same on
    any number of workers and after a resume.
    """

    def __init__(self, augment: Augment, *, px: int, seed: int) -> None:
        self.seed = seed
        steps: list[torch.nn.Module] = [
            v2.RandomResizedCrop(px, scale=(augment.crop_scale_min, 1.0), antialias=True)
        ]
        if augment.ops:
            steps.append(v2.RandAugment(augment.ops, augment.magnitude))
        self.transform = v2.Compose(steps)

    def __call__(
        self, images: PreparedImages, positions: Sequence[int], *, epoch: int, places: Iterable[int]
    ) -> Tensor:
        """Inputs of `positions`, which stand at `places` in the order of this epoch."""
        cuts = []
        with torch.random.fork_rng(devices=[]):
            for position, place in zip(positions, places, strict=True):
                torch.manual_seed(_mix(self.seed, epoch, place))
                cuts.append(self.transform(_channels_first(images[position])))
        return torch.stack(cuts)


def squash(images: PreparedImages, positions: Sequence[int], *, px: int) -> Tensor:
    """Resize to px x px whatever the shape, as the paper evaluates."""
    return torch.stack(
        [
            v2.functional.resize(_channels_first(images[position]), [px, px], antialias=True)
            for position in positions
        ]
    )


def _channels_first(image: NDArray[np.uint8]) -> Tensor:
    # torch warns of read-only memory; nothing below writes into it.
    return torch.frombuffer(image.data, dtype=torch.uint8).view(image.shape).permute(2, 0, 1)


def _mix(seed: int, epoch: int, place: int) -> int:
    """One 63-bit seed out of three numbers (SplitMix64's finaliser), far apart for neighbours."""
    value = (seed * 1_000_003 + epoch) * 1_000_000_007 + place
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
    return (value ^ (value >> 31)) & (2**63 - 1)

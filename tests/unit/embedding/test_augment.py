"""Crops and resizing agree with torchvision, and do not depend on who cuts."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from reid_ray.config.training import Augment
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.augment import TrainCut, random_crop, resize, squash


@pytest.fixture(scope="module")
def images() -> PreparedImages:
    rng = np.random.default_rng(0)
    sizes = [(40, 60), (64, 64), (90, 33), (35, 120)]
    return PreparedImages.pack(rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes)


@pytest.mark.parametrize("size", [(40, 60), (64, 64), (200, 31), (33, 500)])
@pytest.mark.parametrize("scale_min", [0.08, 0.8, 1.0])
def test_a_crop_stays_inside_the_photo(size: tuple[int, int], scale_min: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        top, left, height, width = random_crop((*size, 3), rng, scale_min=scale_min)
        assert min(top, left) >= 0
        assert min(height, width) > 0
        assert top + height <= size[0]
        assert left + width <= size[1]


@pytest.mark.parametrize("scale_min", [0.2, 0.8])
@pytest.mark.parametrize("size", [(256, 256), (256, 384), (384, 256)])
def test_crops_are_spread_as_torchvisions(size: tuple[int, int], scale_min: float) -> None:
    def shares(crops: list[tuple[int, int, int, int]]) -> np.ndarray:
        """Position, area and log of the side ratio, each as a number near 0..1."""
        t, le, h, w = np.array(crops, float).T
        return np.stack([t / size[0], le / size[1], h * w / size[0] / size[1], np.log(w / h)])

    rng, count = np.random.default_rng(2), 4000
    torch.manual_seed(2)
    photo = torch.empty(3, *size)
    ratio = (3 / 4, 4 / 3)
    ours = shares([random_crop((*size, 3), rng, scale_min=scale_min) for _ in range(count)])
    theirs = shares(
        [RandomResizedCrop.get_params(photo, [scale_min, 1.0], list(ratio)) for _ in range(count)]
    )
    error = np.sqrt((ours.var(1) + theirs.var(1)) / count)
    assert (np.abs(ours.mean(1) - theirs.mean(1)) < 4 * error + 1e-12).all()
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        apart = np.abs(np.quantile(ours, quantile, axis=1) - np.quantile(theirs, quantile, axis=1))
        assert (apart < 0.025).all()


def test_a_photo_that_no_crop_fits_is_cut_in_the_middle_at_the_nearest_ratio() -> None:
    # 30 high, 900 wide: at a scale of 1 no ratio up to 4/3 fits, so 40 wide in the middle.
    rng = np.random.default_rng(0)
    assert random_crop((30, 900, 3), rng, scale_min=1.0) == (0, 430, 30, 40)
    assert random_crop((900, 30, 3), rng, scale_min=1.0) == (430, 0, 40, 30)


@pytest.mark.parametrize("px", [32, 50, 96])
def test_resizing_is_torchvisions_bilinear_with_antialiasing(
    images: PreparedImages, px: int
) -> None:
    for image in (images[0], images[1][3:60, 5:41], images[3]):
        photo = torch.from_numpy(image.copy()).permute(2, 0, 1)
        expected = F.resize(
            photo, [px, px], interpolation=InterpolationMode.BILINEAR, antialias=True
        )
        assert (resize(image, px) == expected.permute(1, 2, 0).numpy()).all()


def test_a_batch_for_evaluation_squashes_each_photo_in_order(images: PreparedImages) -> None:
    batch = squash(images, [2, 0], px=32)
    assert batch.shape == (2, 3, 32, 32)
    assert batch.dtype == torch.uint8
    assert (batch[1].permute(1, 2, 0).numpy() == resize(images[0], 32)).all()


def test_a_photo_is_cut_alike_alone_and_in_a_batch_of_any_worker(images: PreparedImages) -> None:
    cut = TrainCut(Augment(), px=32, seed=7)
    together = cut(images, [0, 1, 2, 3], epoch=2, places=[8, 9, 10, 11])
    for rank in (0, 1):
        mine = cut(images, [rank, rank + 2], epoch=2, places=[8 + rank, 10 + rank])
        assert torch.equal(mine, together[rank::2])


def test_a_photo_is_cut_otherwise_in_another_epoch_place_or_seed(images: PreparedImages) -> None:
    def one(seed: int, epoch: int, place: int) -> torch.Tensor:
        return TrainCut(Augment(), px=32, seed=seed)(images, [1], epoch=epoch, places=[place])

    first = one(0, 0, 0)
    assert torch.equal(first, one(0, 0, 0))
    assert not any(
        torch.equal(first, other) for other in (one(1, 0, 0), one(0, 1, 0), one(0, 0, 1))
    )


def test_no_photo_is_mirrored() -> None:
    """A flip would swap an animal's flanks. A ramp from dark to light stays one, in 200 cuts."""
    ramp = np.repeat(np.linspace(20, 230, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    cut = TrainCut(Augment(ops=0), px=32, seed=0)
    batch = cut(PreparedImages.pack([ramp]), [0] * 200, epoch=0, places=range(200)).float()
    assert (batch[..., -4:].mean((1, 2, 3)) > batch[..., :4].mean((1, 2, 3)) + 50).all()


def test_without_operations_and_at_full_scale_a_square_photo_is_almost_whole() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for seed in range(50):
        crop = random_crop(photo.shape, np.random.default_rng(seed), scale_min=1.0)
        assert crop[2] * crop[3] >= math.floor(0.9 * 64 * 64)

"""Crops and resizing agree with torchvision, and do not depend on who cuts."""

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from reid_ray.config.training import Augment
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.augment import TrainTransform, random_crop, resize_whole
from reid_ray.embedding.pixel_loops import operate
from reid_ray.embedding.randaugment import draw
from reid_ray.embedding.resize import Box, Pixels, resize


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


def resized(image: Pixels, px: int, box: Box | None = None) -> Pixels:
    out = np.full((px, px, 3), 77, np.uint8)
    resize(image, box or (0, 0, *image.shape[:2]), out)
    return out


def torchvisions(image: Pixels, px: int) -> Pixels:
    photo = torch.from_numpy(image.copy()).permute(2, 0, 1)
    sized = F.resize(photo, [px, px], interpolation=InterpolationMode.BILINEAR, antialias=True)
    return sized.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("px", [32, 50, 96])
def test_resizing_is_torchvisions_bilinear_with_antialiasing(images: PreparedImages, px: int) -> None:
    for image in images:
        np.testing.assert_array_equal(resized(image, px), torchvisions(image, px))


@pytest.mark.parametrize("box", [(3, 5, 57, 36), (0, 0, 64, 64), (63, 0, 1, 64), (7, 63, 50, 1)])
def test_a_box_is_resized_as_if_it_were_the_whole_photo(images: PreparedImages, box: Box) -> None:
    top, left, height, width = box
    cut = images[1][top : top + height, left : left + width]
    np.testing.assert_array_equal(resized(images[1], 40, box), torchvisions(cut, 40))


@pytest.mark.parametrize("value", [None, 255])
@pytest.mark.parametrize("size", [(300, 512), (1999, 40)])
def test_resizing_to_a_small_part_of_the_size_is_at_most_one_grey_level_from_torchvisions(
    size: tuple[int, int], value: int | None
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    photo = noise if value is None else np.full_like(noise, value)
    apart = resized(photo, 33).astype(int) - torchvisions(photo, 33)
    assert np.abs(apart).max() <= 1
    assert (apart != 0).mean() < 0.01


def test_a_batch_for_evaluation_squashes_each_photo_in_order(images: PreparedImages) -> None:
    batch = resize_whole(images, [2, 0], px=32)
    assert batch.shape == (2, 3, 32, 32)
    assert batch.dtype == torch.uint8
    assert (batch[1].permute(1, 2, 0).numpy() == torchvisions(images[0], 32)).all()


def test_a_photo_is_cut_alike_alone_and_in_a_batch_of_any_worker(images: PreparedImages) -> None:
    cut = TrainTransform(Augment(), px=32, seed=7)
    together = cut(images, [0, 1, 2, 3], epoch=2, places=[8, 9, 10, 11])
    for rank in (0, 1):
        mine = cut(images, [rank, rank + 2], epoch=2, places=[8 + rank, 10 + rank])
        assert torch.equal(mine, together[rank::2])


@pytest.mark.parametrize("ops", [0, 1, 2, 3])
def test_a_cut_is_the_crop_with_one_operation_after_the_other(ops: int) -> None:
    """Told by hand from the same draws: the arrays in between must not be mixed up."""
    photo = np.random.default_rng(3).integers(0, 256, (50, 70, 3)).astype(np.uint8)
    cut = TrainTransform(Augment(ops=ops, magnitude=9), px=40, seed=5)
    batch = cut(PreparedImages.pack([photo]), [0] * 40, epoch=1, places=range(40))
    for place, found in enumerate(batch):
        rng = np.random.default_rng([5, 1, place])
        expected = resized(photo, 40, random_crop(photo.shape, rng, scale_min=0.8))
        for code, sign in zip(*draw(rng, ops), strict=True):
            spare, expected = np.stack([expected] * 2), np.empty_like(expected)
            operate(spare, expected, np.array([code]), np.array([sign]), 9 / 30)
        np.testing.assert_array_equal(found.permute(1, 2, 0).numpy(), expected)


def test_a_photo_is_cut_otherwise_in_another_epoch_place_or_seed(images: PreparedImages) -> None:
    def one(seed: int, epoch: int, place: int) -> torch.Tensor:
        return TrainTransform(Augment(), px=32, seed=seed)(images, [1], epoch=epoch, places=[place])

    first = one(0, 0, 0)
    assert torch.equal(first, one(0, 0, 0))
    assert not any(torch.equal(first, other) for other in (one(1, 0, 0), one(0, 1, 0), one(0, 0, 1)))


def test_no_photo_is_mirrored() -> None:
    """A flip would swap an animal's flanks. A ramp from dark to light stays one, in 200 cuts."""
    ramp = np.repeat(np.linspace(20, 230, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    cut = TrainTransform(Augment(ops=0), px=32, seed=0)
    batch = cut(PreparedImages.pack([ramp]), [0] * 200, epoch=0, places=range(200)).float()
    assert (batch[..., -4:].mean((1, 2, 3)) > batch[..., :4].mean((1, 2, 3)) + 50).all()


def test_without_operations_and_at_full_scale_a_square_photo_is_almost_whole() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for seed in range(50):
        crop = random_crop(photo.shape, np.random.default_rng(seed), scale_min=1.0)
        assert crop[2] * crop[3] >= math.floor(0.9 * 64 * 64)

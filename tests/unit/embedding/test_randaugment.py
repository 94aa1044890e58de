"""RandAugment agrees with torchvision's, operation by operation."""

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from reid_ray.embedding.randaugment import OPERATIONS, rand_augment


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    noise = np.random.default_rng(5).integers(0, 256, (97, 97, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2) // 2 + 60


def torchvision(name: str, photo: np.ndarray, magnitude: int, sign: int) -> np.ndarray:
    """The original, told which operation and sign to draw."""
    original = v2.RandAugment(1, magnitude)
    values, signed = original._AUGMENTATION_SPACE[name]
    table = values(31, *photo.shape[:2])
    value = 0.0 if table is None else float(table[magnitude]) * (sign if signed else 1)
    image = torch.from_numpy(photo).permute(2, 0, 1)
    changed = original._apply_image_or_video_transform(
        image, name, value, interpolation=F.InterpolationMode.NEAREST, fill={}
    )
    return changed.permute(1, 2, 0).numpy()


@pytest.mark.parametrize("sign", [1, -1])
# Not 20: a shear of exactly 0.2 puts every fifth pixel on a tie, where either neighbour is right.
@pytest.mark.parametrize("magnitude", [0, 9, 19, 30])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_each_operation_gives_torchvisions_pixels(
    photo: np.ndarray, name: str, magnitude: int, sign: int
) -> None:
    ours = OPERATIONS[name](photo, magnitude / 30, sign)
    theirs = torchvision(name, photo, magnitude, sign)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.uint8
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    if name in ("ShearX", "ShearY", "Rotate"):
        # Nearest neighbours at exact halves may fall to either side.
        assert (difference > 1).mean() < 0.02
    else:
        assert difference.max() <= 1


def test_the_operations_are_exactly_torchvisions() -> None:
    assert set(OPERATIONS) == set(v2.RandAugment._AUGMENTATION_SPACE)


def test_the_same_generator_gives_the_same_photo(photo: np.ndarray) -> None:
    once, again = (rand_augment(photo, np.random.default_rng(3), ops=2, magnitude=20) for _ in "ab")
    other = rand_augment(photo, np.random.default_rng(4), ops=2, magnitude=20)
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()

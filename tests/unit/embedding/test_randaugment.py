"""RandAugment agrees with torchvision's, operation by operation."""

from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from reid_ray.embedding.pixel_loops import operate
from reid_ray.embedding.randaugment import OPERATIONS, draw


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


def changed(name: str, photo: np.ndarray, magnitude: int, sign: int = 1) -> np.ndarray:
    out, spare = np.full_like(photo, 77), np.stack([photo, np.full_like(photo, 33)])
    operate(spare, out, np.array([OPERATIONS[name]]), np.array([sign]), magnitude / 30)
    return out


@pytest.mark.parametrize("sign", [1, -1])
# Not 20: a shear of exactly 0.2 puts every fifth pixel on a tie, where either neighbour is right.
@pytest.mark.parametrize("magnitude", [0, 9, 19, 30])
@pytest.mark.parametrize("name", list(OPERATIONS))
def test_each_operation_gives_torchvisions_pixels(
    photo: np.ndarray, name: str, magnitude: int, sign: int
) -> None:
    ours = changed(name, photo, magnitude, sign)
    theirs = torchvision(name, photo, magnitude, sign)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    if name in ("ShearX", "ShearY", "Rotate"):
        # Nearest neighbours at exact halves may fall to either side.
        assert (difference > 1).mean() < 0.02
    else:
        assert difference.max() <= 1


def test_the_operations_are_exactly_torchvisions() -> None:
    assert set(OPERATIONS) == set(v2.RandAugment._AUGMENTATION_SPACE)


@pytest.mark.parametrize("name", ["AutoContrast", "Equalize", "Contrast", "Color"])
def test_flat_dark_and_uneven_photos_are_treated_as_torchvision_does(name: str) -> None:
    noise = np.random.default_rng(6).integers(0, 256, (40, 57, 3)).astype(np.uint8)
    one_flat = noise.copy()
    one_flat[..., 1] = 90
    for photo in (np.zeros_like(noise), np.full_like(noise, 255), noise // 32, one_flat):
        for sign in (1, -1):
            theirs = torchvision(name, photo, 20, sign)
            assert np.abs(changed(name, photo, 20, sign).astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_a_shear_with_ties_takes_one_of_the_two_nearest_pixels(name: str) -> None:
    """Of a ramp of 1 a pixel, either neighbour at a tie is 1/2 from what lies between them."""
    along = np.arange(60, 160, dtype=np.uint8)
    ramp = np.broadcast_to(along if name == "ShearX" else along[:, None], (100, 100))
    found = changed(name, np.repeat(ramp[..., None], 3, 2).copy(), 20)[..., 0].astype(float)
    moved = 0.2 * (np.arange(100) + 0.5)
    exact = ramp + (moved[:, None] if name == "ShearX" else moved)
    inside = found > 0
    assert inside.mean() > 0.85
    assert np.abs(found - exact)[inside].max() <= 0.5 + 1e-6


def test_every_operation_is_drawn_about_as_often_and_with_either_sign() -> None:
    rng = np.random.default_rng(3)
    drawn = [list(zip(*draw(rng, 2), strict=True)) for _ in range(4000)]
    counts = Counter((int(code), int(sign)) for some in drawn for code, sign in some)
    # 8000 draws of 14 operations and two signs are 286 each, give or take 17; identities are left out.
    assert len(counts) == 26
    assert all(abs(count - 286) < 5 * 17 for count in counts.values())
    assert max(len(some) for some in drawn) == 2

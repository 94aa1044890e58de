"""Packing and storing features."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from feature_images import byte_images

from reid_ray.config.matching import Sift, SuperPoint
from reid_ray.errors import StorageError, WeightsError
from reid_ray.matching import store
from reid_ray.matching.features import Features


def test_images_come_out_as_they_were_packed() -> None:
    features = byte_images([3, 0, 5], seed=1)
    again = Features.concat([features.take([0, 1]), features.take([2])])
    for index, count in enumerate([3, 0, 5]):
        assert len(again.image(index)) == count
        np.testing.assert_array_equal(again.image(index).points_xy, features.image(index).points_xy)
    assert len(features.take([])) == 0


def test_saved_features_are_read_back_bit_for_bit(tmp_path: Path) -> None:
    features = byte_images([3, 0, 5], seed=2)
    features.save(tmp_path / "deep" / "f.npz")
    again = Features.load(tmp_path / "deep" / "f.npz")
    for name in ("descriptors", "offsets", "points_xy", "scales", "responses"):
        np.testing.assert_array_equal(getattr(again, name), getattr(features, name))


@pytest.mark.parametrize("damage", ["missing", "cut", "text", "pickle", "offsets"])
def test_damaged_features_are_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "f.npz"
    features = byte_images([3, 4], seed=3)
    features.save(path)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("features")
    elif damage == "pickle":
        path.write_bytes(pickle.dumps({"offsets": [0]}))
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **{**vars(features), "offsets": np.array([0, 9, 7])})
        path.write_bytes(buffer.getvalue())
    with pytest.raises(StorageError, match=r"f\.npz: .*delete it"):
        Features.load(path)


def test_stored_features_are_found_by_pixels_and_settings_and_made_again_if_damaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    first = store.load_or_extract(tmp_path, [image], Sift())
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(b"damaged")
    again = store.load_or_extract(tmp_path, [image], Sift())
    np.testing.assert_array_equal(again.descriptors, first.descriptors)
    assert Features.load(path).keypoints.tolist() == first.keypoints.tolist()
    other = image.copy()
    other[0, 0, 0] ^= 1
    keys = {
        store.feature_key(images, config)
        for images, config in [
            ([image], Sift()),
            ([other], Sift()),
            ([image], Sift(root=True)),
            ([image.reshape(80, 64, 3)], Sift()),
        ]
    }
    assert len(keys) == 4


def test_weights_are_known_by_content_not_by_path(tmp_path: Path) -> None:
    keys = []
    for name, content in [("a", b"one"), ("b", b"one"), ("c", b"two")]:
        (tmp_path / name).write_bytes(content)
        keys.append(store.settings_key(SuperPoint(kind="superpoint", weights=str(tmp_path / name))))
    assert keys[0] == keys[1] != keys[2]
    with pytest.raises(WeightsError, match="nowhere"):
        store.settings_key(SuperPoint(kind="superpoint", weights="nowhere"))

"""Vectors are kept by content: found again, never stale, made again where damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reid_ray.datasets.prepared import MappedFile, PreparedImages
from reid_ray.embedding import embed as embedding
from reid_ray.embedding.backbones import build
from reid_ray.embedding.embed import _resize_bicubic, batch_size, embed
from reid_ray.embedding.encoding import Encoding
from reid_ray.embedding.loaded import Model
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.vectors import VectorStore, photo_keys

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> PreparedImages:
    rng = np.random.default_rng(0)
    return PreparedImages.pack(rng.integers(0, 256, (40 + n, 50, 3), dtype=np.uint8) for n in range(10))


def make(store: Path, **changes: object) -> Model:
    options = {"weights": "random", "input_px": 48, "seed": 0} | changes
    options |= {"input_px": options.pop("px")} if "px" in options else {}
    device = options.pop("device", CPU)
    return Encoding("test_resnet", **options).build(store, device)  # type: ignore[arg-type]


def count_photos(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos each call of `embed` gets from now on."""
    from reid_ray.embedding import loaded

    counts: list[int] = []

    def counting(encoder, images, positions, **options):  # type: ignore[no-untyped-def]
        counts.append(len(positions))
        return embed(encoder, images, positions, **options)

    monkeypatch.setattr(loaded, "embed", counting)
    return counts


def test_vectors_are_made_once_and_equal_those_made_afresh(
    images: PreparedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = count_photos(monkeypatch)
    model = make(tmp_path)
    model.add(images, np.arange(6))
    model.add(images, np.arange(3, 10))
    kept = make(tmp_path).vectors(images, np.array([9, 0, 4, 4]))
    assert counts == [6, 4]
    expected = embed(model.encoder, images, np.array([9, 0, 4, 4]), px=48, device=CPU)
    np.testing.assert_allclose(kept, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"px": 64},
        {"mean": (0.4, 0.5, 0.6)},
        {"std": (0.5, 0.4, 0.3)},
        {"interpolation": "bicubic"},
    ],
    ids=str,
)
def test_other_weights_and_other_preparation_never_share_vectors(
    images: PreparedImages, tmp_path: Path, changes: dict[str, object]
) -> None:
    model, other = make(tmp_path), make(tmp_path, **changes)
    assert model.store.folder != other.store.folder
    positions = np.arange(4)
    assert not np.allclose(model.vectors(images, positions), other.vectors(images, positions), atol=1e-4)


@pytest.mark.parametrize("damage", ["flipped", "cut short", "empty"])
def test_damaged_vectors_are_noticed_and_made_again(
    images: PreparedImages, tmp_path: Path, damage: str
) -> None:
    expected = make(tmp_path).vectors(images, np.arange(10))
    (shard,) = tmp_path.glob("*/*.safetensors")
    data = bytearray(shard.read_bytes())
    middle = len(data) // 2  # among the vectors
    data[middle : middle + 4] = bytes(byte ^ 64 for byte in data[middle : middle + 4])
    shard.write_bytes({"flipped": data, "cut short": data[:-9], "empty": b""}[damage])
    again = make(tmp_path).vectors(images, np.arange(10))
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_a_photo_is_known_by_its_pixels_and_shape(images: PreparedImages) -> None:
    keys = photo_keys(images, np.arange(10))
    assert len(set(keys)) == 10
    photo = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    twins = PreparedImages.pack([photo, photo.copy(), photo.reshape(2, 8, 3)])
    a, b, c = photo_keys(twins, np.arange(3))
    assert a == b != c


def test_a_photo_that_was_prepared_is_known_without_its_pixels() -> None:
    of = [b"00" * 16, b"ab" * 16, b"00" * 16]
    nowhere = (MappedFile("/nowhere/a.pixels"),)
    places = np.zeros(3, np.int64)
    images = PreparedImages(
        nowhere, places.astype(np.int32), places, np.full((3, 2), 4, np.int32), np.array(of)
    )
    assert photo_keys(images, np.array([1, 0, 2])) == [b"\xab" * 16, b"\0" * 16, b"\0" * 16]


def test_what_is_not_there_is_not_read(tmp_path: Path) -> None:
    store = VectorStore(tmp_path)
    keys = [bytes([n] * 16) for n in range(3)]
    assert store.read(keys) is None
    store.add(keys[:2], np.eye(2, dtype=np.float32))
    assert store.read(keys) is None
    assert store.missing([keys[2], keys[0], keys[2]]) == [0]
    np.testing.assert_array_equal(store.read([keys[1], keys[0]]), np.eye(2)[::-1])


def test_bicubic_photos_are_scaled_as_pillow_scales_them(images: PreparedImages) -> None:
    for px in (24, 96):
        found = _resize_bicubic(images, [3], px=px)[0].permute(1, 2, 0).numpy().astype(int)
        expected = np.asarray(Image.fromarray(images[3]).resize((px, px), Image.Resampling.BICUBIC), int)
        assert np.abs(found - expected).max() <= 1


def test_batches_shrink_with_the_area_of_a_photo() -> None:
    assert [batch_size(px) for px in (224, 448, 518, 4096)] == [64, 16, 12, 1]


def test_a_batch_that_does_not_fit_is_halved(images: PreparedImages, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(build("test_resnet", weights="random", input_px=48))
    expected = embed(encoder, images, np.arange(7), px=48, device=CPU)
    plain, seen = Encoder.embed, []

    def small_memory(self, photos):  # type: ignore[no-untyped-def]
        seen.append(len(photos))
        if len(photos) > 2:
            raise torch.OutOfMemoryError
        return plain(self, photos)

    monkeypatch.setattr(Encoder, "embed", small_memory)
    found = embed(encoder, images, np.arange(7), px=48, device=CPU)
    assert max(seen) == 7
    np.testing.assert_allclose(found, expected, atol=1e-6)
    monkeypatch.setattr(Encoder, "embed", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError))
    with pytest.raises(torch.OutOfMemoryError):
        embed(encoder, images, np.arange(2), px=48, device=CPU)


def test_photos_of_all_batches_come_back_in_order(
    images: PreparedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = Encoder(build("test_resnet", weights="random", input_px=48))
    expected = embed(encoder, images, np.arange(10), px=48, device=CPU)
    monkeypatch.setattr(embedding, "batch_size", lambda _: 3)
    found = embed(encoder, images, np.arange(10), px=48, device=CPU)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert embed(encoder, images, np.arange(0), px=48, device=CPU).shape[0] == 0

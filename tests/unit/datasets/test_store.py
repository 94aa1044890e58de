"""Photos are prepared once, kept whole, and read without filling the memory."""

import multiprocessing
import os
import pickle
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reid_ray.config.datasets import Images
from reid_ray.datasets import store as store_module
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import MappedFile, PreparedImages
from reid_ray.datasets.store import Placed, PreparedStore, Row
from reid_ray.errors import StorageError

SETTINGS = Images(short_px=40)


@pytest.fixture
def rows(tmp_path: Path, write_photo) -> list[Row]:
    paths = [write_photo(tmp_path / "photos" / f"{seed}.jpg", seed) for seed in range(5)]
    return [Row(str(path.parent), path.name, None) for path in paths]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Contents of the photos that were decoded, as they are."""
    seen: list[str] = []
    original = store_module.prepare_source

    def counted(source, *, images):
        seen.append(source.content)
        return original(source, images=images)

    monkeypatch.setattr(store_module, "prepare_source", counted)
    return seen


def expected(row: Row, settings: Images = SETTINGS) -> np.ndarray:
    return read_prepared(row.root, row.path, images=settings, bbox=row.bbox).pixels


def prepare(folder: Path, rows: list[Row], settings: Images = SETTINGS) -> list[Placed]:
    store = PreparedStore(folder, settings)
    return store.prepare(rows, store.index())


def test_photos_come_back_with_the_pixels_of_each_in_order(tmp_path: Path, rows: list[Row]) -> None:
    store = PreparedStore(tmp_path / "kept", SETTINGS)
    placed = store.prepare(rows[3:], store.index()) + store.prepare(rows[:3], store.index())
    images = store.open(placed)
    assert len(images) == 5
    for image, row in zip(images, rows[3:] + rows[:3], strict=True):
        np.testing.assert_array_equal(image, expected(row))
        assert not image.flags.writeable
    assert images.nbytes == sum(expected(row).size for row in rows)


def test_a_second_start_decodes_nothing_whatever_the_file_is_called(
    tmp_path: Path, rows: list[Row], decoded: list[str]
) -> None:
    first = prepare(tmp_path / "kept", rows)
    assert len(decoded) == 5
    assert not any(photo.reused for photo in first)
    os.rename(tmp_path / "photos/0.jpg", tmp_path / "photos/new name.jpg")
    renamed = [rows[0]._replace(path="new name.jpg"), *rows[1:]]
    second = prepare(tmp_path / "kept", renamed)
    assert len(decoded) == 5
    assert second == [photo._replace(reused=True) for photo in first]


def test_only_new_and_changed_photos_are_decoded(
    tmp_path: Path, rows: list[Row], decoded: list[str], write_photo
) -> None:
    prepare(tmp_path / "kept", rows[:4])
    write_photo(tmp_path / "photos/1.jpg", seed=77)
    decoded.clear()
    placed = prepare(tmp_path / "kept", rows)
    assert [photo.reused for photo in placed] == [True, False, True, True, False]
    assert decoded == [placed[1].content, placed[4].content]
    images = PreparedStore(tmp_path / "kept", SETTINGS).open(placed)
    np.testing.assert_array_equal(images[1], expected(rows[1]))


def test_prepared_photos_have_keys_that_are_equal_for_equal_pixels_alone(
    tmp_path: Path, rows: list[Row]
) -> None:
    (tmp_path / "photos/copy.jpg").write_bytes((tmp_path / "photos/1.jpg").read_bytes())
    store = PreparedStore(tmp_path / "kept", SETTINGS)
    asked = [*rows, rows[0]._replace(path="copy.jpg")]
    first = store.open(store.prepare(asked, store.index())).keys.tolist()
    assert first == store.open(store.prepare(asked, store.index())).keys.tolist()
    assert first[5] == first[1]
    assert len(set(first)) == 5
    other = PreparedStore(tmp_path / "kept", Images(short_px=50))
    assert set(other.open(other.prepare(asked, other.index())).keys.tolist()).isdisjoint(first)


def test_photos_that_are_not_enlarged_are_kept_apart(tmp_path: Path, rows: list[Row]) -> None:
    large = SETTINGS.model_copy(update={"short_px": 2048})
    found = []
    for settings in (large, large.model_copy(update={"enlarge": False})):
        store = PreparedStore(tmp_path / "kept", settings)
        found.append(store.open(store.prepare(rows[:1], store.index()))[0].shape)
    assert min(found[0][:2]) == 2048
    assert min(found[1][:2]) < 2048


def test_the_same_file_twice_is_kept_once(tmp_path: Path, rows: list[Row], decoded: list[str]) -> None:
    placed = prepare(tmp_path / "kept", [rows[0], rows[1], rows[0]])
    assert placed[0] == placed[2] != placed[1]
    assert len(decoded) == 2


@pytest.mark.parametrize("other", [Images(short_px=50), Images(short_px=40, max_pixels=10_000), "box"])
def test_other_settings_or_another_box_are_another_photo(
    tmp_path: Path, rows: list[Row], decoded: list[str], other: Images | str
) -> None:
    settings = Images(short_px=40, crop="bbox")
    boxed = [row._replace(bbox=[0, 0, 36, 36]) for row in rows]
    prepare(tmp_path / "kept", boxed, settings)
    decoded.clear()
    if isinstance(other, str):
        boxed, other = [row._replace(bbox=[0, 0, 36, 35]) for row in rows], settings
    else:
        other = other.model_copy(update={"crop": "bbox"})
    prepare(tmp_path / "kept", boxed, other)
    assert len(decoded) == 5


def test_a_box_that_is_not_asked_for_changes_nothing(
    tmp_path: Path, rows: list[Row], decoded: list[str]
) -> None:
    prepare(tmp_path / "kept", rows)
    placed = prepare(tmp_path / "kept", [row._replace(bbox=[0, 0, 36, 36]) for row in rows])
    assert all(photo.reused for photo in placed)


def test_a_photo_that_cannot_be_used_is_told_and_leaves_the_others(tmp_path: Path, rows: list[Row]) -> None:
    (tmp_path / "photos/2.jpg").write_bytes(b"no photo")
    placed = prepare(tmp_path / "kept", [*rows, rows[0]._replace(path="missing.jpg")])
    assert [bool(photo.error) for photo in placed] == [False, False, True, False, False, True]
    assert "not an image" in placed[2].error


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "a flipped bit": lambda pixels: flip(pixels),
    "cut short": lambda pixels: os.truncate(pixels, 100),
    "gone": lambda pixels: pixels.unlink(),
    "json cut short": lambda pixels: os.truncate(pixels.with_suffix(".json"), 30),
    "json gone": lambda pixels: pixels.with_suffix(".json").unlink(),
    "json of another": lambda pixels: pixels.with_suffix(".json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_found_out_and_made_again(
    tmp_path: Path, rows: list[Row], decoded: list[str], damage: str
) -> None:
    kept = prepare(tmp_path / "kept", rows[:2])
    hurt = prepare(tmp_path / "kept", rows[2:])
    DAMAGES[damage](tmp_path / "kept/40px" / f"{hurt[0].shard}.pixels")
    decoded.clear()
    again = prepare(tmp_path / "kept", rows)
    assert [photo.reused for photo in again] == [True] * 2 + [False] * 3
    assert again[0].shard == kept[0].shard
    assert len(decoded) == 3
    images = PreparedStore(tmp_path / "kept", SETTINGS).open(again)
    for image, row in zip(images, rows, strict=True):
        np.testing.assert_array_equal(image, expected(row))
    assert all(photo.reused for photo in prepare(tmp_path / "kept", rows))


def test_what_a_killed_writer_left_is_swept_away_after_a_day(tmp_path: Path, rows: list[Row]) -> None:
    placed = prepare(tmp_path / "kept", rows)
    folder = tmp_path / "kept/40px"
    left = [folder / ".x.pixels.1234.tmp", folder / "orphan.pixels"]
    for path in left:
        path.write_bytes(b"half")
    assert all(photo.reused for photo in prepare(tmp_path / "kept", rows))
    assert all(path.exists() for path in left)
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    PreparedStore(tmp_path / "kept", SETTINGS).index()
    assert {path.stem for path in folder.iterdir()} == {placed[0].shard}


def test_a_store_that_cannot_be_written_is_one_clear_error(tmp_path: Path, rows: list[Row]) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/40px").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot be written"):
        prepare(tmp_path / "kept", rows)


def test_photos_whose_file_is_not_on_this_machine_say_so() -> None:
    images = PreparedImages(
        (MappedFile("/nowhere/a.pixels"),),
        np.zeros(1, np.int32),
        np.zeros(1, np.int64),
        np.array([[40, 40]], np.int32),
    )
    with pytest.raises(StorageError, match=r"/nowhere/a\.pixels.*all nodes share"):
        images[0]


def test_photos_that_another_machine_kept_for_itself_are_missed_at_once(
    tmp_path: Path, rows: list[Row]
) -> None:
    placed = prepare(tmp_path / "there", rows)
    with pytest.raises(StorageError, match="all nodes share"):
        PreparedStore(tmp_path / "here", SETTINGS).open(placed)


def test_mapped_photos_keep_no_file_open(tmp_path: Path, rows: list[Row]) -> None:
    """A large collection has more files than a process may have open."""
    placed = [photo for row in rows for photo in prepare(tmp_path / "kept", [row])]
    images = PreparedStore(tmp_path / "kept", SETTINGS).open(placed)
    before = len(os.listdir("/proc/self/fd"))
    assert sum(int(image.sum()) for image in images) > 0
    assert len(images.parts) == 5
    assert len(os.listdir("/proc/self/fd")) == before


def _look(images: PreparedImages, told) -> None:
    total = sum(int(image.sum()) for image in images)
    maps = Path("/proc/self/maps").read_text().splitlines()
    told.put((total, sorted({line.split()[-1] for line in maps if line.endswith(".pixels")})))


def test_processes_map_the_same_file_and_are_sent_no_pixels(tmp_path: Path, rows: list[Row]) -> None:
    store = PreparedStore(tmp_path / "kept", SETTINGS)
    images = store.open(store.prepare(rows, store.index()))
    total = sum(int(image.sum()) for image in images)
    assert len(pickle.dumps(images)) < 2000 < images.nbytes
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    processes = [context.Process(target=_look, args=(images, told)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [told.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    file = str(next((tmp_path / "kept/40px").glob("*.pixels")).resolve())
    assert found == [(total, [file])] * 2


SIDE, COUNT, BATCH, ROOM = 1000, 100, 5, 90 << 20


def _within_room(folder: Path, rows: list[Row], told) -> None:
    """Prepare and read 300 MB with 90 MB of new memory allowed (of the process's own; maps are none)."""
    store = PreparedStore(folder, Images(short_px=SIDE))
    store.prepare(rows[:1], store.index())  # libraries are loaded before the limit
    status = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) << 10 for line in status if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + ROOM, resource.RLIM_INFINITY))
    index = store.index()
    placed = [photo for at in range(0, COUNT, BATCH) for photo in store.prepare(rows[at : at + BATCH], index)]
    images = store.open(placed)
    told.put((images.nbytes, sum(int(image[::9].sum()) for image in images)))
    try:
        PreparedImages.pack(images)
    except MemoryError:
        told.put("all at once does not fit")


@pytest.fixture
def flat_photos(tmp_path: Path) -> Iterator[list[Row]]:
    for i in range(COUNT):
        pixels = np.full((SIDE, SIDE, 3), i, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.bmp")
    yield [Row(str(tmp_path), f"{i}.bmp", None) for i in range(COUNT)]
    for i in range(COUNT):
        (tmp_path / f"{i}.bmp").unlink()


@pytest.mark.slow
def test_a_collection_larger_than_memory_is_prepared_and_read(tmp_path: Path, flat_photos: list[Row]) -> None:
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    process = context.Process(target=_within_room, args=(tmp_path / "kept", flat_photos, told))
    process.start()
    size, total = told.get(timeout=120)
    assert size == COUNT * SIDE * SIDE * 3 > 3 * ROOM
    assert total == sum(range(COUNT)) * len(range(0, SIDE, 9)) * SIDE * 3
    assert told.get(timeout=60) == "all at once does not fit"
    process.join()

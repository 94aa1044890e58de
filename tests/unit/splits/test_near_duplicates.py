"""Copies of photos are found, other photos of the same synthetic are not."""

from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from reid_ray.config.datasets import Split, SyntheticDataset
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.synthetic.census import plan_shots
from reid_ray.datasets.synthetic.make import render
from reid_ray.splits import near_duplicates
from reid_ray.splits.leaks import settle_leaks
from reid_ray.splits.near_duplicates import agreement, find_near_duplicates

Photo = NDArray[np.uint8]
DATASET = SyntheticDataset(
    source="synthetic", name="synthetic", species="leopard", identities=6, photos=6, size_px=96
)


@pytest.fixture(scope="module")
def synthetic() -> list[Photo]:
    return [image for _, image, _ in render(DATASET, plan_shots(DATASET))]


def scaled(photo: Photo) -> Photo:
    height, width = photo.shape[:2]
    return cv2.resize(photo, (width * 3 // 4, height * 3 // 4), interpolation=cv2.INTER_AREA)


def encoded(photo: Photo) -> Photo:
    data = cv2.imencode(".jpg", photo, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def cut(photo: Photo) -> Photo:
    height, width = photo.shape[:2]
    return photo[height // 50 : height - height // 40, width // 40 :]


def brightened(photo: Photo) -> Photo:
    return np.clip(photo.astype(int) * 1.2 + 15, 0, 255).astype(np.uint8)


CHANGES: list[Callable[[Photo], Photo]] = [scaled, encoded, cut, brightened]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_with_its_original(synthetic: list[Photo], change: object) -> None:
    copies = [np.ascontiguousarray(change(photo)) for photo in synthetic[:8]]
    images = PreparedImages.pack(synthetic + copies)
    queries, others = np.arange(len(synthetic), len(images)), np.arange(len(synthetic))
    found = find_near_duplicates(images, queries, others)
    assert found == [(len(synthetic) + place, place) for place in range(8)]


def test_no_two_photos_of_a_herd_are_nearly_the_same(synthetic: list[Photo]) -> None:
    images, half = PreparedImages.pack(synthetic), len(synthetic) // 2
    assert find_near_duplicates(images, np.arange(half), np.arange(half, len(synthetic))) == []


def test_without_the_first_steps_the_last_one_says_the_same(
    synthetic: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = PreparedImages.pack(synthetic[:12] + [cut(photo) for photo in synthetic[:4]])
    fast = find_near_duplicates(images, np.arange(12, 16), np.arange(12))
    monkeypatch.setattr(near_duplicates, "HASH_BITS", 64)
    monkeypatch.setattr(near_duplicates, "CORRELATION", -1.0)
    monkeypatch.setattr(near_duplicates, "_BLOCK", 7)
    assert find_near_duplicates(images, np.arange(12, 16), np.arange(12)) == fast
    assert len(fast) == 4


def test_among_many_photos_a_query_meets_a_few_cells_and_finds_the_same(
    synthetic: list[Photo], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [np.ascontiguousarray(change(photo)) for change in CHANGES for photo in synthetic[:4]]
    images = PreparedImages.pack(synthetic + copies)
    queries, others = np.arange(len(synthetic), len(images)), np.arange(len(synthetic))
    met = []
    near = near_duplicates.Known.near
    monkeypatch.setattr(
        near_duplicates.Known, "near", lambda *given: (met.append(one) or one for one in near(*given))
    )
    with_all = find_near_duplicates(images, queries, others)
    assert sum(len(asked) * (cell.stop - cell.start) for asked, cell in met) == len(queries) * len(others)
    met.clear()
    monkeypatch.setattr(near_duplicates, "COMPARED_WITH_ALL", 0)
    monkeypatch.setattr(near_duplicates, "CELLS_LOOKED_INTO", 3)
    assert find_near_duplicates(images, queries, others) == with_all
    compared = sum(len(asked) * (cell.stop - cell.start) for asked, cell in met)
    assert 0 < compared < len(queries) * len(others)


def test_agreement_is_of_two_pictures_whichever_comes_first(synthetic: list[Photo]) -> None:
    images = PreparedImages.pack([synthetic[0], cut(synthetic[0]), synthetic[1]])
    small = [near_duplicates._small(image) for image in (images[0], images[1], images[2])]
    assert agreement(small[0], small[0]) == pytest.approx((1, 1), abs=1e-5)
    assert agreement(small[0], small[1]) == pytest.approx(agreement(small[1], small[0]), abs=1e-5)
    limits = near_duplicates.AGREEMENT, near_duplicates.FINE_AGREEMENT
    assert np.greater(agreement(small[0], small[1]), limits).all()
    assert np.less(agreement(small[0], small[2]), limits).all()


def test_seals_that_are_all_dark_before_the_ice_are_no_copies() -> None:
    """Two of these pairs agree as a whole by 0.93 and more."""
    seals = DATASET.model_copy(update={"species": "ringed_seal", "identities": 16, "photos": 12})
    photos = [image for _, image, _ in render(seals, plan_shots(seals))]
    half = len(photos) // 2
    images = PreparedImages.pack(photos)
    assert find_near_duplicates(images, np.arange(half), np.arange(half, len(photos))) == []


def test_a_plain_photo_is_no_copy_of_another(synthetic: list[Photo]) -> None:
    plain = np.full((96, 144, 3), 90, np.uint8)
    images = PreparedImages.pack([plain, synthetic[0], plain + 1])
    assert find_near_duplicates(images, np.array([0]), np.array([1])) == []
    assert find_near_duplicates(images, np.array([0]), np.array([], np.int64)) == []


def test_a_deliberately_leaked_collection_is_caught_and_named(synthetic: list[Photo]) -> None:
    """Every fourth query of one of two collections is a changed copy of a reference."""
    half = len(synthetic) // 2
    rows, photos = [], []
    for dataset in ("clean", "leaky"):
        for place, photo in enumerate(synthetic):
            split = "reference" if place < half else "query"
            copied = dataset == "leaky" and split == "query" and place % 4 == 0
            change = CHANGES[place // 4 % 4]
            # The clean collection shows other photos: the same ones, mirrored.
            shown = change(synthetic[place - half]) if copied else photo
            photos.append(np.ascontiguousarray(shown[:, ::-1] if dataset == "clean" else shown))
            rows.append((f"{dataset}/{place}", dataset, f"{place % half}", split))
    table = pd.DataFrame(rows, columns=["key", "dataset", "identity", "split"])
    table = table.assign(domain="seen", validation=False, content=table["key"])
    query = np.flatnonzero(table["split"] == "query")
    near = find_near_duplicates(
        PreparedImages.pack(photos), query, np.flatnonzero(table["split"] == "reference")
    )
    after, findings = settle_leaks(table, Split(), near)
    [finding] = [f for f in findings if f.kind == "near_duplicate"]
    expected = [place for place in range(half, len(synthetic)) if place % 4 == 0]
    assert finding.dataset == "leaky"
    assert finding.keys == tuple(f"leaky/{place}" for place in expected)
    assert finding.pairs[0] == (f"leaky/{expected[0]}", f"leaky/{expected[0] - half}")
    assert f"leaky: {len(expected)} queries are nearly the same picture" in finding.text
    assert (after["split"] == table["split"]).all()  # reported, and so still asked
    dropped, _ = settle_leaks(table, Split(on_leak="drop"), near)
    assert dropped["split"].eq("none").sum() == len(expected)

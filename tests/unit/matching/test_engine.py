"""The engine against OpenCV's brute-force matcher and plain loops."""

import os
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
import threadpoolctl
import torch
from feature_images import byte_images, image_of
from numpy.typing import NDArray

from reid_ray.config.matching import Sift
from reid_ray.matching import engine, fused, products, sift, vnni
from reid_ray.matching.engine import Packed, count_block, nearest_images
from reid_ray.matching.features import Features

THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 1.0)
DIRECTIONS: tuple[engine.Direction, ...] = ("reference_to_query", "query_to_reference")
PRODUCTS: tuple[engine.Product, ...] = ("float32", "int8", "fused")


@pytest.fixture(params=PRODUCTS)
def product(request: pytest.FixtureRequest) -> engine.Product:
    if request.param == "fused" and not vnni.supported():
        pytest.skip("this processor has no AVX-512 VNNI")
    found: engine.Product = request.param
    return found


Nearest = tuple[NDArray[np.int64], NDArray[np.float32]]


def opencv_nearest(looking: NDArray[Any], searched: NDArray[Any]) -> Nearest:
    """By OpenCV's knnMatch: each descriptor's nearest and its ratio of squared distances."""
    matcher = cv2.BFMatcher(cv2.NORM_L2SQR)
    found = matcher.knnMatch(looking.astype(np.float32), searched.astype(np.float32), k=2)
    with np.errstate(invalid="ignore"):
        ratios = [np.float32(a.distance) / np.float32(b.distance) for a, b in found]
    return np.array([a.trainIdx for a, _ in found]), np.array(ratios, np.float32)


def passing(looking: Nearest, searched: Nearest, threshold: float, *, mutual: bool) -> int:
    """Matches below the threshold; mutual: whose nearest has them as its nearest."""
    nearest, ratios = looking
    back = searched[0][nearest] == np.arange(len(nearest))
    return int(((ratios < np.float32(threshold)) & (back | (not mutual))).sum())


def opencv_count(looking: NDArray[Any], searched: NDArray[Any], threshold: float, *, mutual: bool) -> int:
    """Matches of one pair by OpenCV."""
    if len(looking) < 2 or len(searched) < 2:
        return 0
    both = opencv_nearest(looking, searched), opencv_nearest(searched, looking)
    return passing(*both, threshold, mutual=mutual)


def by_opencv(
    queries: Features, references: Features, *, mutual: bool, direction: engine.Direction
) -> NDArray[np.int32]:
    counts = np.zeros((len(queries), len(references), len(THRESHOLDS)), np.int32)
    for q in range(len(queries)):
        for g in range(len(references)):
            pair = queries.image(q).descriptors, references.image(g).descriptors
            looking, searched = pair if direction == "query_to_reference" else pair[::-1]
            for t, threshold in enumerate(THRESHOLDS):
                counts[q, g, t] = opencv_count(looking, searched, threshold, mutual=mutual)
    return counts


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("values", [256, 3])
def test_counts_are_opencvs_also_with_ties_and_near_empty_images(
    direction: engine.Direction, mutual: bool, values: int, product: engine.Product
) -> None:
    queries = byte_images([30, 0, 7, 1, 2, 61], seed=1, values=values)
    references = byte_images([25, 3, 1, 0, 40, 2, 5], seed=2, values=values)
    expected = by_opencv(queries, references, mutual=mutual, direction=direction)
    found = count_block(
        Packed.of(queries),
        0,
        6,
        Packed.of(references),
        THRESHOLDS,
        mutual=mutual,
        direction=direction,
        product=product,
    )
    assert expected.sum() > 20
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("root", [False, True])
def test_counts_of_200_real_pairs_are_opencvs(real_photos: list[NDArray[np.uint8]], root: bool) -> None:
    features = sift.extract(real_photos, Sift(root=root))
    queries, references = features.take(np.arange(10)), features.take(np.arange(10, 30))
    pairs = [
        (opencv_nearest(a, b), opencv_nearest(b, a))
        for a in (queries.image(q).descriptors for q in range(10))
        for b in (references.image(g).descriptors for g in range(20))
    ]
    packed = Packed.of(references)
    assert packed.sketched().sketches is not None
    for mutual in (False, True):
        for direction in DIRECTIONS:
            turn = 1 if direction == "query_to_reference" else -1
            for threshold, least in ((0.5, 10), (0.8, 1000)):
                expected = [passing(*pair[::turn], threshold, mutual=mutual) for pair in pairs]
                assert sum(expected) > least
                for side in (packed, packed.sketched()):
                    found = count_block(
                        Packed.of(queries), 0, 10, side, (threshold,), mutual=mutual, direction=direction
                    )
                    assert found.ravel().tolist() == expected


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tile_sizes_do_not_change_counts(
    monkeypatch: pytest.MonkeyPatch, mutual: bool, direction: engine.Direction, product: engine.Product
) -> None:
    queries = Packed.of(byte_images([50, 9, 0, 33], seed=5))
    references = Packed.of(byte_images([20, 64, 3, 1, 0, 17], seed=6))
    kwargs: dict[str, Any] = {"mutual": mutual, "direction": direction, "product": product}
    whole = count_block(queries, 0, 4, references, THRESHOLDS, **kwargs)
    for rows, columns in [(1, 1), (5, 7), (64, 10), (23, 64)]:
        monkeypatch.setattr(products, "TILE_ROWS", rows)
        monkeypatch.setattr(products, "TILE_COLUMNS", columns)
        monkeypatch.setattr(fused, "TILE_COLUMNS", columns)
        np.testing.assert_array_equal(count_block(queries, 0, 4, references, THRESHOLDS, **kwargs), whole)


def test_float_descriptors_are_counted_as_by_double_precision() -> None:
    rng = np.random.default_rng(7)

    def units(count: int) -> NDArray[np.float32]:
        raw = rng.normal(size=(count, 256)).astype(np.float32)
        return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True))

    b = units(60)
    a = np.concatenate([b[:20] + 0.3 * units(20), units(15)]).astype(np.float32)
    squared = ((a[:, None].astype(np.float64) - b[None]) ** 2).sum(-1)
    two = np.sort(squared, axis=1)[:, :2]
    expected = [(two[:, 0] / two[:, 1] < t).sum() for t in THRESHOLDS]
    found = count_block(
        Packed.of(Features.pack([image_of(a)])),
        0,
        1,
        Packed.of(Features.pack([image_of(b)])),
        THRESHOLDS,
        direction="query_to_reference",
    )
    assert 15 <= expected[2] <= 34
    assert found[0, 0].tolist() == expected


def test_a_part_of_the_queries_gives_the_rows_of_the_whole() -> None:
    queries, references = (
        Packed.of(byte_images([5, 9, 12], seed=8)),
        Packed.of(byte_images([8, 30], seed=9)),
    )
    whole = count_block(queries, 0, 3, references, THRESHOLDS)
    np.testing.assert_array_equal(count_block(queries, 1, 3, references, THRESHOLDS), whole[1:])


def test_read_only_arrays_of_a_shared_store_are_taken_as_they_are() -> None:
    packed = Packed.of(byte_images([20, 30], seed=10))
    expected = count_block(packed, 0, 1, packed, (0.8,))
    for array in (packed.descriptors, packed.norms, packed.offsets):
        array.flags.writeable = False
    np.testing.assert_array_equal(count_block(packed, 0, 1, packed, (0.8,)), expected)


def test_packed_bytes_keep_distances_and_take_copies_whole_images() -> None:
    features = byte_images([4, 0, 6], seed=11)
    packed = Packed.of(features)
    shifted = features.descriptors.astype(int) - 128
    np.testing.assert_array_equal(packed.descriptors, shifted)
    np.testing.assert_array_equal(packed.norms, (shifted**2).sum(1))
    taken = packed.take([2, 1, 0])
    assert taken.offsets.tolist() == [0, 6, 6, 10]
    np.testing.assert_array_equal(taken.descriptors[6:], packed.descriptors[:4])


def test_nearest_images_are_those_of_a_plain_sort(product: engine.Product) -> None:
    queries, references = (
        byte_images([9, 4], seed=12, values=4),
        byte_images([7, 0, 5, 11, 3], seed=13, values=4),
    )
    distances, images = nearest_images(
        Packed.of(queries), 0, 2, Packed.of(references), kept=4, product=product
    )
    for row, descriptor in enumerate(queries.descriptors.astype(np.int64)):
        nearest = sorted(
            (int(((references.image(g).descriptors - descriptor) ** 2).sum(1).min()), g) for g in (0, 2, 3, 4)
        )
        assert [(int(d), int(g)) for d, g in zip(distances[row], images[row], strict=True)] == nearest


def test_wrong_or_missing_products_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    right, fold = torch._int_mm, vnni.fold

    def wrong_fold(*arguments: Any) -> None:
        fold(*arguments)
        arguments[5][0] += 1

    def missing(a: Any, b: Any) -> Any:
        raise RuntimeError("not implemented")

    monkeypatch.setattr(vnni, "fold", wrong_fold)
    assert not (vnni.supported() and vnni.right.__wrapped__())
    monkeypatch.setattr(vnni, "right", lambda: False)
    for product in (lambda a, b: right(a, b) + 1, missing):
        monkeypatch.setattr(torch, "_int_mm", product)
        assert engine.fastest_product.__wrapped__() == "float32"


def test_one_thread_is_numpys_too() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpoolctl.threadpool_info()}

    with threadpoolctl.threadpool_limits(2):
        assert 2 in threads()
        engine.use_one_thread()
        assert threads() == {1}


def test_without_vnni_the_kernel_is_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled() -> bool:
        raise AssertionError("would abort the process")

    monkeypatch.setattr(vnni, "supported", lambda: False)
    monkeypatch.setattr(vnni, "right", compiled)
    assert engine.fastest_product.__wrapped__() in ("int8", "float32")


def test_with_amx_all_products_are_timed_and_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vnni, "supported", lambda: True)
    monkeypatch.setattr(vnni, "right", lambda: True)
    monkeypatch.setattr(vnni, "has_amx", lambda: False)
    monkeypatch.setattr(engine, "_int8_is_right", lambda: True)
    monkeypatch.setattr(
        engine, "_seconds", lambda product: {"float32": 3.0, "fused": 2.0, "int8": 1.0}[product]
    )
    assert engine.fastest_product.__wrapped__() == "fused"
    monkeypatch.setattr(vnni, "has_amx", lambda: True)
    assert engine.fastest_product.__wrapped__() == "int8"


def test_one_thread_is_also_what_libraries_take_that_are_loaded_later() -> None:
    code = (
        "from reid_ray.matching import engine; import sys; assert 'torch' not in sys.modules; "
        "engine.use_one_thread(); import torch; print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if "NUM_THREADS" not in name}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "1"

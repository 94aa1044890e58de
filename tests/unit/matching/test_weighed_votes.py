"""Votes weighed by place, against plain loops and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from feature_images import byte_images, image_of

from reid_ray.config.matching import Distance, Matching
from reid_ray.errors import StorageError
from reid_ray.matching import engine, vnni
from reid_ray.matching.engine import Packed, count_block
from reid_ray.matching.features import Features
from reid_ray.matching.lnbnn import lnbnn_block
from reid_ray.matching.places import CELLS, LEFT, RIGHT, Evidence, PlaceWeights, Shape, cells_of, learn
from reid_ray.matching.scoring import References, Setting, votes_by_part


def lnbnn_of_descriptor(
    descriptor: np.ndarray, references: Features, neighbours: int, kind: Distance
) -> np.ndarray:
    """The votes of one descriptor (McCann and Lowe 2012), float64 [g]."""
    found = sorted(
        (float(((references.image(g).descriptors.astype(int) - descriptor) ** 2).sum(1).min()), g)
        for g in range(len(references))
    )[: neighbours + 1]
    power = {"squared": 1.0, "plain": 0.5}[kind]
    votes = np.zeros(len(references))
    for distance, g in found[:-1]:
        votes[g] = found[-1][0] ** power - distance**power
    return votes


@pytest.mark.parametrize("kind", ["squared", "plain"])
def test_each_descriptors_lnbnn_votes_count_its_weight(kind: Distance) -> None:
    queries, references = byte_images([9, 14], seed=2, values=5), byte_images([7, 3, 5, 11], seed=3, values=5)
    weights = np.random.default_rng(0).uniform(0, 3, 23).astype(np.float32)
    packed = replace(Packed.of(queries), weights=weights)
    expected = np.array(
        [
            sum(
                weights[queries.offsets[q] + k]
                * lnbnn_of_descriptor(descriptor.astype(int), references, 2, kind)
                for k, descriptor in enumerate(queries.image(q).descriptors)
            )
            for q in range(2)
        ]
    )
    assert (expected > 0).any()
    found = lnbnn_block(packed, 0, 2, Packed.of(references), [(2, kind)])[0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    second = lnbnn_block(packed, 1, 2, Packed.of(references), [(2, kind)])[0]
    np.testing.assert_allclose(second, expected[1:], rtol=1e-6)


def passes(looking: np.ndarray, searched: np.ndarray, *, mutual: bool) -> np.ndarray:
    """Which descriptors match at a ratio of 0.9, bool [k]."""
    if len(looking) < 2 or len(searched) < 2:
        return np.zeros(len(looking), bool)
    squared = ((looking[:, None].astype(int) - searched[None]) ** 2).sum(2)
    near = np.sort(squared, axis=1)[:, :2].astype(np.float32)
    back = squared.argmin(axis=0)[squared.argmin(axis=1)] == np.arange(len(looking))
    return (near[:, 0] / near[:, 1] < np.float32(0.9)) & (back | (not mutual))


@pytest.mark.parametrize("mutual", [False, True])
@pytest.mark.parametrize("direction", ["reference_to_query", "query_to_reference"])
@pytest.mark.parametrize("product", ["float32", "int8", "fused"])
def test_each_match_counts_the_weight_of_the_descriptor_that_looked(
    product: engine.Product, direction: engine.Direction, mutual: bool
) -> None:
    if product == "fused" and not vnni.supported():
        pytest.skip("this processor has no AVX-512 VNNI")
    images = byte_images([39, 54], seed=2), byte_images([37, 1, 35, 71], seed=3)
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0, 3, len(one.descriptors)).astype(np.float32) for one in images]
    sides = [replace(Packed.of(one), weights=own) for one, own in zip(images, weights, strict=True)]
    expected = np.zeros((2, 4))
    for pair in np.ndindex(2, 4):
        looks = 0 if direction == "query_to_reference" else 1
        looking, searched = (images[side].image(pair[side]).descriptors for side in (looks, 1 - looks))
        start, stop = images[looks].offsets[pair[looks] :][:2]
        expected[pair] = weights[looks][start:stop][passes(looking, searched, mutual=mutual)].sum()
    assert (expected > 0).any()
    found = count_block(
        sides[0], 0, 2, sides[1], [0.9, 0.01], direction=direction, product=product, mutual=mutual
    )
    np.testing.assert_allclose(found[:, :, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("config", [{"score": "lnbnn"}, {"score": "count"}])
def test_votes_by_part_are_those_of_its_descriptors_alone(config: dict[str, str]) -> None:
    queries, references = byte_images([39, 54], seed=2), byte_images([37, 23, 35, 71], seed=3)
    method = Matching.parse(config, where="test")
    setting = Setting(threshold=0.9, neighbours=2, distance="plain")
    parts = np.random.default_rng(1).integers(0, 3, 93)
    out = np.zeros((2, 4), bool)
    out[0, 2] = True
    side = References(Packed.of(references), np.arange(4), np.full(4, -1))
    found = votes_by_part(Packed.of(queries), side, method, setting, parts, 3, out)
    assert found.shape == (2, 3, 4)
    expected = np.zeros((2, 3, 4))
    for q in range(2):
        there = np.flatnonzero(~out[q])
        own = queries.image(q).descriptors
        matched = np.stack([passes(own, references.image(g).descriptors, mutual=False) for g in there])
        for k, one in enumerate(own):
            votes = lnbnn_of_descriptor(one.astype(int), references.take(there), 2, "plain")
            expected[q, parts[queries.offsets[q] + k], there] += (
                votes if method.score == "lnbnn" else matched[:, k]
            )
    assert (expected > 0).sum() > 5
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def photo(points: list[tuple[float, float]], size: tuple[int, int]) -> Features:
    one = image_of(np.zeros((len(points), 128), np.uint8))
    return Features.pack([replace(one, points_xy=np.array(points, np.float32), size_px=size)])


def test_cells_are_eighths_of_the_photo_row_by_row() -> None:
    found = cells_of(photo([(0, 0), (159.9, 0), (160, 80), (0, 79.9), (41, 10)], (160, 80)))
    assert found.tolist() == [0, 7, 63, 56, 10]


def test_right_flanks_are_mirrored_and_unknown_ones_are_half_of_both() -> None:
    raised = [1.0] * CELLS
    raised[0] = 5.0
    cells = np.array([0, 7, 0, 7, 0, 7, 9])
    sides = np.array([LEFT, LEFT, RIGHT, RIGHT, -1, 2, LEFT])
    weights = PlaceWeights(tuple(raised), sided=True)
    assert weights.of(cells, sides).tolist() == [5, 1, 1, 5, 3, 3, 1]
    assert replace(weights, sided=False).of(cells, sides).tolist() == [5, 1, 5, 1, 5, 1, 1]


def test_weights_follow_the_excess_of_the_own_animals_votes() -> None:
    own, others = np.ones((20, CELLS)), np.ones((20, CELLS))
    assert learn(Evidence(own, others), Shape(0.7, 1)).tolist() == [1.0] * CELLS
    own[:, 27] = 9
    weights = learn(Evidence(own, others), Shape(0.5, 1))
    assert weights.argmax() == 27
    assert weights[26] == pytest.approx(weights[28])
    assert weights[27] > 4 * weights[26] > 4 * weights[0]
    assert np.average(weights) == pytest.approx(1)  # others' votes are the same everywhere
    bolder = learn(Evidence(own, others), Shape(0.5, 2))
    assert bolder[27] > weights[27]


def test_nothing_is_learnt_of_no_votes() -> None:
    assert learn(Evidence(np.zeros((3, CELLS)), np.zeros((3, CELLS))), Shape(1, 2)).tolist() == [1.0] * CELLS


def test_damaged_weights_are_refused() -> None:
    good = PlaceWeights((1.0,) * CELLS, sided=True)
    assert PlaceWeights.from_json(good.as_json()) == good
    for raw in ({}, {"weights": [1.0] * 3, "sided": True}, {"weights": [-1.0] * CELLS, "sided": False}):
        with pytest.raises(StorageError, match="not weights of places"):
            PlaceWeights.from_json(raw)

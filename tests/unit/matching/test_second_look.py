"""A closer look: matches that agree, counted by where they lie."""

import numpy as np
import pytest
from numpy.typing import NDArray

from reid_ray.config.matching import Disk, LightGlue, MatchedShortlist, Matching
from reid_ray.matching import lightglue
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.scoring import References, Setting, score_views
from reid_ray.matching.second_look import SecondLook
from reid_ray.matching.shortlist import score_candidates

GLUE = LightGlue(model="lightglue", weights="glue.pth")
MOVE = np.array([7.0, -3.0])


def scene() -> tuple[Features, Features]:
    """A photo of 12 points; the same moved; and moved, with the last 4 points somewhere else."""
    rng = np.random.default_rng(2)
    points = rng.uniform(20, 200, (12, 2))
    torn = points + MOVE
    torn[8:] = rng.uniform(20, 200, (4, 2))

    def image(where: NDArray[np.float64]) -> ImageFeatures:
        zeros = np.zeros(12, np.float32)
        return ImageFeatures(
            rng.normal(size=(12, 128)).astype(np.float32), where.astype(np.float32), zeros, zeros
        )

    return Features.pack([image(points)]), Features.pack([image(points + MOVE), image(torn)])


@pytest.fixture(autouse=True)
def _all_points_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """LightGlue accepts point i with point i, of all photos it is given at once."""
    same = np.stack([np.arange(12)] * 2, axis=1)
    monkeypatch.setattr(lightglue, "match_pairs", lambda _, references, *__: [same for _ in references])


def config(**look: object) -> Matching:
    raw = {"kind": "disk", "weights": "d"}
    verify = {"model": "lightglue", "weights": "glue.pth", **look}
    return Matching.parse({"extractor": raw, "verify": verify, "shortlist": {"by": "SIFT"}}, where="test")


@pytest.mark.parametrize(
    ("geometry", "torn"), [("affine", {8}), ("homography", {8}), ("fundamental", {8, 9, 10, 11})]
)
def test_matches_count_that_agree_on_one_transform(geometry: str, torn: set[int]) -> None:
    """Points of one plane leave epipolar lines some freedom, which wrong matches take."""
    queries, references = scene()
    plain = SecondLook(queries, references, config())(1.0, 0, [0, 1])
    assert plain.tolist() == [12, 12]
    checked = SecondLook(queries, references, config(geometry=geometry, reprojection_px=0.5))(1.0, 0, [1, 0])
    assert checked[0] in torn
    assert checked[1] == 12


def test_a_match_counts_as_the_geometric_mean_of_its_ends() -> None:
    queries, references = scene()
    weights_q = np.arange(12, dtype=np.float32)
    weights_g = np.concatenate([np.full(12, 4.0), np.zeros(6), np.ones(6)]).astype(np.float32)
    packed = tuple(
        Packed(side.descriptors, np.zeros(len(side.descriptors), np.float32), side.offsets, weights=weights)
        for side, weights in ((queries, weights_q), (references, weights_g))
    )
    found = SecondLook(queries, references, config(), packed=packed)(1.0, 0, [0, 1])  # type: ignore[arg-type]
    assert found == pytest.approx([2 * np.sqrt(weights_q).sum(), np.sqrt(weights_q[6:]).sum()])


def test_a_network_puts_the_whole_list_in_order_and_nothing_is_scored_before() -> None:
    queries, features = scene()
    references = References(Packed.of(features), np.arange(2), np.full(2, -1), features)
    checked = config(geometry="affine", reprojection_px=0.5)
    (found,) = score_candidates(
        Packed.of(queries), queries, [np.array([1, 0])], references, checked, Setting()
    )
    assert found.tolist() == [8, 12]


def test_a_number_of_candidates_is_kept_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a shortlist the best 20 by descriptors are looked at; a number that is given comes first."""
    queries, features = scene()
    many = features.take([0] * 30)
    references = References(Packed.of(many), np.arange(30), np.full(30, -1), many)
    looked: list[int] = []

    def count(_: object, images: list[ImageFeatures], *__: object) -> list[NDArray[np.int64]]:
        looked.append(len(images))
        return [np.zeros((1, 2), np.int64)] * len(images)

    monkeypatch.setattr(lightglue, "match_pairs", count)
    out = np.zeros((1, 30), bool)
    alone = Matching(extractor=Disk(kind="disk", weights="d"), verify=GLUE)
    five = alone.model_copy(update={"verify": GLUE.model_copy(update={"candidates": 5})})
    short = five.model_copy(update={"shortlist": MatchedShortlist(by="vlad")})
    for one in (alone, five):
        score_views(Packed.of(queries), queries, references, one, [(Setting(threshold=0.9), out)])
    everyone = [np.arange(30)]
    for one in (short, alone):
        score_candidates(Packed.of(queries), queries, everyone, references, one, Setting(threshold=0.9))
    assert looked == [20, 5, 5, 30]

"""References of another side are left out, and then they are not matched at all."""

from pathlib import Path

import numpy as np
import pytest
from collection import bench, gallery_of, table

from reid_ray.config.candidate_sets import CandidateSets, Choice
from reid_ray.config.matching import Matching
from reid_ray.datasets.schema import SIDES
from reid_ray.matching import scoring
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalFeatures


def sided(seed: int, share_unknown: float = 0.2) -> Gallery:
    rng = np.random.default_rng(seed)
    sides = rng.choice(["left", "right", "front"], 30)
    words = np.where(rng.random(30) < share_unknown, rng.choice(["", "odd"], 30), sides)
    places = np.where(
        rng.random(30) < share_unknown, "", rng.choice(["north ", "North", "south", "west", "east"], 30)
    )
    days = np.datetime64("2021-01-01") + rng.integers(0, 365, 30)
    dates = np.where(rng.random(30) < share_unknown, "2021", days.astype(str))
    return gallery_of(table(orientation=words, location=places, date=dates))


def test_words_for_sides_are_places_and_others_are_unknown() -> None:
    words = ["right", "left", "", "odd", "front", *["left"] * 25]
    gallery = gallery_of(table(orientation=words))
    named = dict(zip(gallery.photos.tolist(), gallery.sides.tolist(), strict=True))
    assert [named[photo] for photo in range(5)] == [1, 0, -1, -1, SIDES.index("front")]
    assert gallery_of(table()).sides.tolist() == [-1] * 30


@pytest.mark.parametrize("rule", ["off", "only", "prefer"])
@pytest.mark.parametrize("seed", range(5))
def test_who_may_answer_is_that_of_a_plain_loop(rule: Choice, seed: int) -> None:
    gallery = sided(seed).under(CandidateSets(viewpoint=rule))
    asked = np.arange(30)
    out = gallery.excluded(asked, encounter=False)
    for a in asked:
        itself = a < gallery.references
        for g in range(gallery.references):
            pair = gallery.sides[a], gallery.sides[g]
            other = -1 not in pair and pair[0] != pair[1]
            if rule == "prefer":
                mates = [
                    m
                    for m in range(gallery.references)
                    if gallery.labels[m] == gallery.labels[g] and gallery.sides[m] == pair[0] and m != a
                ]
                other = other and bool(mates)
            assert out[a, g] == ((itself and a == g) or (other and rule != "off"))


@pytest.mark.parametrize("score", ["count", "lnbnn"])
@pytest.mark.parametrize(
    "rules",
    [
        {"viewpoint": "only"},
        {"viewpoint": "prefer"},
        {"location": "only"},
        {"location": "prefer", "viewpoint": "prefer"},
        {"period": "only", "period_days": 50},
    ],
)
def test_answers_are_those_of_all_pairs_with_the_others_left_out(
    score: str, rules: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = sided(1)
    raw = {"score": score, **rules, "thresholds": [0.7], "neighbours": [2], "distances": ["plain"]}
    raw["extractor"] = {"kind": "sift", "max_keypoints": 30}
    config = Matching.parse(raw, where="test")
    here = bench(tmp_path)
    ready = LocalFeatures(config).prepare([gallery], here)[0]
    compared = []

    def watched(packed: object, references: scoring.References, *rest: object) -> object:
        compared.append(len(references.packed) * len(packed))  # type: ignore[arg-type]
        return plain(packed, references, *rest)  # type: ignore[arg-type]

    name = "_votes" if score == "lnbnn" else "_counts"
    plain = getattr(scoring, name)
    monkeypatch.setattr(scoring, name, watched)
    found, _ = ready.rank(here, gallery.queries, k=20)
    few = sum(compared)
    monkeypatch.setattr(scoring, "WORTH_LEAVING", 2.0)
    expected, _ = ready.rank(here, gallery.queries, k=20)
    np.testing.assert_array_equal(found.top_index, expected.top_index)
    np.testing.assert_allclose(found.top_score, expected.top_score, rtol=1e-6)
    assert few < 0.8 * (sum(compared) - few)
    allowed = ~ready.gallery.excluded(gallery.queries, encounter=False)
    assert ready.matched == round(allowed.sum() / len(gallery.queries))
    assert all(allowed[row, place] for row, top in enumerate(found.top_index) for place in top[top >= 0])

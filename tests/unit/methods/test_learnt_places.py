"""Weights of places are learnt on references alone, help, or are left off with a reason."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.matching.places import CELLS
from reid_ray.methods.bench import InProcess
from reid_ray.methods.candidate_sets import Shown
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalFeatures, LocalScorer
from reid_ray.methods.places import Places, VotesByPlace, decide, told
from reid_ray.methods.ready import Ready

ANIMALS, PHOTOS = 12, 4
LNBNN = Matching.parse(
    {"score": "lnbnn", "neighbours": [3], "distances": ["plain"], "place_weights": "auto"}, where="test"
)


def gallery(animals: int = ANIMALS, *, sides: np.ndarray | None = None) -> Gallery:
    labels = np.repeat(np.arange(animals), PHOTOS)
    count = len(labels)
    none = np.full(count, -1)
    return Gallery(
        "one",
        np.arange(count),
        count,
        labels,
        none,
        none,
        np.zeros(count, bool),
        shown=replace(Shown.nothing(count), sides=none if sides is None else sides),
    )


def voted(
    among: Gallery, *, told: list[int], strength: float, seed: int = 0, mirrored: np.ndarray | None = None
) -> VotesByPlace:
    """Votes at random; from the cells `told`, the own animal gets `strength` more."""
    rng = np.random.default_rng(seed)
    count = among.references
    votes = rng.exponential(1.0, (count, CELLS, count))
    same = among.labels[:, None] == among.labels[None]
    for q in range(count):
        cells = (
            [cell - cell % 8 + 7 - cell % 8 for cell in told]
            if mirrored is not None and mirrored[q]
            else told
        )
        for cell in cells:
            votes[q, cell, same[q]] += strength
    out = np.eye(count, dtype=bool)
    votes[np.arange(count), :, np.arange(count)] = 0
    return VotesByPlace(sparse.csr_matrix(votes.reshape(-1, count).astype(np.float32)), out)


def test_weights_are_high_where_the_own_animal_gets_votes_and_name_more() -> None:
    among = gallery()
    found = decide(voted(among, told=[27, 28], strength=4), np.arange(48), among, seed=0)
    assert found.weights is not None
    assert found.facts is not None
    weights = np.array(found.weights.weights_c)
    assert set(np.argsort(-weights)[:2]) == {27, 28}
    assert found.facts["weighted"] > found.facts["plain"] + 0.2
    assert found.note == ""


def test_a_right_flank_teaches_mirrored() -> None:
    sides = np.arange(48) % 2
    among = gallery(sides=sides)
    votes = voted(among, told=[24, 25], strength=4, mirrored=sides == 1)
    found = decide(votes, np.arange(48), among, seed=0)
    assert found.weights is not None
    assert found.weights.sided
    assert set(np.argsort(-np.array(found.weights.weights_c))[:2]) == {24, 25}


def test_where_places_tell_nothing_there_are_no_weights_and_it_is_said() -> None:
    among = gallery()
    found = decide(voted(among, told=[], strength=0), np.arange(48), among, seed=0)
    assert found.weights is None
    assert "votes count alike" in found.note


def test_too_few_animals_teach_nothing() -> None:
    among = gallery(animals=5)
    found = decide(voted(among, told=[27], strength=9), np.arange(20), among, seed=0)
    assert found.weights is None
    assert "5 animals" in found.note


def photos(seed: int = 0) -> list[np.ndarray]:
    """Animals whose coat is in the middle, before backgrounds that go from photo to photo."""
    rng = np.random.default_rng(seed)
    grounds = [rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(PHOTOS)]
    grounds = [cv2.resize(ground, (128, 128), interpolation=cv2.INTER_CUBIC) for ground in grounds]
    images = []
    for _ in range(ANIMALS):
        coat = cv2.resize(
            rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (48, 48), interpolation=cv2.INTER_CUBIC
        )
        for ground in grounds:
            photo = ground.astype(float)
            photo[40:88, 40:88] = coat
            images.append(np.clip(photo + rng.normal(0, 25, photo.shape), 0, 255).astype(np.uint8))
    return images


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gallery, InProcess]:
    count = ANIMALS * PHOTOS
    rows = pd.DataFrame(
        {
            "dataset": "one",
            "identity": np.repeat([f"a{n}" for n in range(ANIMALS)], PHOTOS),
            "content": [f"{n:04x}" for n in range(count)],
        }
    )
    split = np.arange(count) % PHOTOS == 0
    among = Gallery.of(rows, np.flatnonzero(~split), np.flatnonzero(split), name="one")
    return among, InProcess(PreparedImages.pack(iter(photos())), tmp_path_factory.mktemp("store"))


def ready(config: Matching, herd: tuple[Gallery, InProcess], **given: object) -> Ready:
    return LocalFeatures(config).prepare([herd[0]], herd[1], **given)[0]  # type: ignore[arg-type]


def share_right(one: Ready, herd: tuple[Gallery, InProcess]) -> float:
    ranked, _ = one.rank(herd[1], herd[0].queries, k=1)
    return float((ranked.first_correct == 1).mean())


@pytest.mark.parametrize("score", ["lnbnn", "count"])
def test_animals_before_shared_backgrounds_are_named_once_places_are_learnt(
    herd: tuple[Gallery, InProcess], score: str
) -> None:
    config = LNBNN.model_copy(update={"score": score, "thresholds": (0.8,), "neighbours": (1,)})
    weighed = ready(config, herd)
    plain = ready(config.model_copy(update={"place_weights": "off"}), herd)
    weights = Places.of(weighed.learnt).weights
    assert weights is not None
    grid = np.array(weights.weights_c).reshape(8, 8)
    assert grid[3:5, 3:5].min() > 3 * grid[[0, 0, 7, 7], [0, 7, 0, 7]].max()
    assert share_right(weighed, herd) > share_right(plain, herd)
    assert weighed.params["place_weights"] == "learnt"


def test_learnt_places_are_used_again_after_a_round_through_json(herd: tuple[Gallery, InProcess]) -> None:
    first = ready(LNBNN, herd)
    again = ready(LNBNN, herd, learnt={herd[0].fingerprint: json.loads(json.dumps(first.learnt))})
    assert isinstance(first.scorer, LocalScorer)
    assert isinstance(again.scorer, LocalScorer)
    assert first.scorer.places is not None
    assert again.scorer.places == first.scorer.places
    expected, _ = first.rank(herd[1], herd[0].queries, k=3)
    found, _ = again.rank(herd[1], herd[0].queries, k=3)
    np.testing.assert_array_equal(found.top_score, expected.top_score)


def test_validation_photos_do_not_teach_what_they_judge(herd: tuple[Gallery, InProcess]) -> None:
    among, here = herd
    trained = np.arange(among.references) % 3 > 0
    free = replace(among, trained=trained)
    found = LocalFeatures(LNBNN).prepare([free], here)[0]
    assert found.unvalidated is not None
    asked = Places.of(found.learnt).facts, Places.of(found.unvalidated).facts
    assert asked[0] is not None
    assert asked[1] is not None
    assert (asked[0]["asked"], asked[1]["asked"]) == (36, 24)


def test_each_part_of_a_fusion_says_what_it_learnt_by_its_name() -> None:
    learnt = [Places(note=note).as_json() for note in ("too few photos", "nothing gained")]
    found = told({"parts": [{"places": one} for one in learnt]}, ["SIFT", "DISK"])
    assert found == ["SIFT: too few photos", "DISK: nothing gained"]

"""What a matching process does with a few photos, against plain loops."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_ray.config.matching import MatchedShortlist, Matching, Sift
from reid_ray.evaluation.calibration import Calibrator
from reid_ray.evaluation.fusion import Fused
from reid_ray.matching import sift
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.kept import kept_scores
from reid_ray.matching.scoring import References, Setting, score_block
from reid_ray.matching.shortlist import unit
from reid_ray.on_ray.fusion_blocks import LocalPart, Task, lookup_pairs, rank_fused
from reid_ray.on_ray.matching import ranked_of
from reid_ray.on_ray.matching_blocks import Looking, Vectors, _scorer, look_up, rank_all, rank_shortlisted
from reid_ray.on_ray.matching_sides import lookups_among

SETTING = Setting(threshold=0.7)
NOWHERE = np.full(20, -1)


def photos() -> tuple[Features, np.ndarray]:
    """Five animals, six noisy photos each."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(5):
        coat = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        coat = cv2.resize(coat, (84, 72), interpolation=cv2.INTER_CUBIC)
        for _ in range(6):
            images.append(np.clip(coat + rng.normal(0, 40, coat.shape), 0, 255).astype(np.uint8))
    return sift.extract(images, Sift(max_keypoints=30)), np.repeat(np.arange(5), 6)


@pytest.fixture(scope="module")
def sides() -> tuple[Looking, References, Vectors]:
    """Two photos of each animal look among the other four; vectors know a little of the animals."""
    features, labels = photos()
    is_query = np.arange(30) % 3 == 1
    q, g = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, 4)) + 1.2 * rng.normal(size=(5, 4))[labels]
    vectors = unit(vectors)
    searched = features.take(g)
    references = References(Packed.of(searched), labels[g], NOWHERE, searched)
    return (Looking(features.take(q), labels[q], NOWHERE[:10]), references, Vectors(vectors[q], vectors[g]))


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    return left @ (right / np.linalg.norm(right, axis=1, keepdims=True)).T


def best_first(*keys: np.ndarray) -> list[int]:
    """Positions by the first key, highest first, then by the next."""
    return np.lexsort([-key for key in reversed(keys)]).tolist()


@pytest.mark.parametrize("size", [1, 4, 20, 99])
def test_a_shortlist_ranks_candidates_by_matches_and_all_the_rest_by_embedding(
    sides: tuple[Looking, References, Vectors], size: int
) -> None:
    looking, references, vectors = sides
    config = Matching(shortlist=MatchedShortlist(by="vlad", size=size, curve="all"))
    found = rank_shortlisted(references, looking, vectors, config, SETTING, np.arange(10), k=20)
    full = score_block(looking.features, NOWHERE[:10], references, Matching(), SETTING)
    near = cosines(vectors.queries_qd, vectors.references_gd)
    for q in range(10):
        order = best_first(near[q])
        listed = np.isin(np.arange(20), order[:size])
        expected = best_first(np.where(listed, full[q], -1), near[q])
        assert found["top_index"][q].tolist() == expected
        same = references.identities_g == looking.labels_q[q]
        assert found["first_correct"][q] == 1 + np.flatnonzero(same[expected])[0]
        for place, length in enumerate([1, 2, 5, 10, 20]):
            few = order[:length]
            assert found["among"][q, place] == same[few].any()
            assert found["right"][q, place] == same[few[int(np.argmax(full[q, few]))]]
    assert found["among"][:, -1].all()
    assert 0 < found["right"][:, 0].sum() < found["right"][:, -1].sum()


def test_scores_that_depend_on_the_others_are_made_anew_for_each_length(
    sides: tuple[Looking, References, Vectors],
) -> None:
    looking, references, _ = sides
    query, few = looking.features.take([3]), np.array([17, 2, 9, 11, 4])
    pairwise, dependent = Matching(), Matching(score="lnbnn")
    for config, same in ((pairwise, True), (dependent, False)):
        scores_of = _scorer(query, few, references, config, SETTING)
        for length in (2, 4):
            chosen = few[:length]
            alone = score_block(query, NOWHERE[:1], references.take(np.sort(chosen)), config, SETTING)[0]
            expected = alone[np.searchsorted(np.sort(chosen), chosen)]
            assert scores_of(length).tolist() == expected.tolist()
            assert (expected.tolist() == scores_of(5)[:length].tolist()) == same


def test_kept_scores_are_read_and_damaged_ones_made_again(
    sides: tuple[Looking, References, Vectors], tmp_path: Any
) -> None:
    looking, references, _ = sides
    ask = {"k": 5, "kept": tmp_path}
    first = rank_all(references, looking, Matching(), (SETTING, SETTING), np.arange(10), **ask)
    paths = sorted(tmp_path.glob("*.npy"))
    assert len(paths) == 2  # eight queries, then two
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    again = rank_all(references, looking, Matching(), (SETTING, SETTING), np.arange(10), **ask)
    for name, expected in first.items():
        np.testing.assert_array_equal(again[name], expected)
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.zeros((1, 2, 20), np.float32)

    kept = kept_scores(tmp_path, paths[1].stem, (1, 2, 20), make)
    assert not made
    assert kept.max() > 0
    kept_scores(tmp_path, paths[1].stem, (1, 2, 21), make)
    assert made


def met(sides: tuple[Looking, References, Vectors]) -> tuple[Looking, References]:
    """The same photos, the first query and two references of its animal in one encounter."""
    looking, references, _ = sides
    encounters_q, encounters_g = np.arange(10), np.arange(100, 120)
    encounters_g[np.flatnonzero(references.identities_g == looking.labels_q[0])[:2]] = 0
    return (replace(looking, encounters_q=encounters_q), replace(references, encounters_g=encounters_g))


def test_kept_scores_hold_both_views_and_a_fusion_reads_the_first(
    sides: tuple[Looking, References, Vectors], tmp_path: Any
) -> None:
    looking, references = met(sides)
    loose = Setting(threshold=0.9)
    settings = SETTING, loose
    found = ranked_of(rank_all(references, looking, Matching(), settings, np.arange(10), k=20, kept=tmp_path))
    first = score_block(looking.features, NOWHERE[:10], references, Matching(), SETTING)
    second = score_block(looking.features, NOWHERE[:10], references, Matching(), loose)
    own = references.encounters_g == 0
    assert found.top_index.tolist() == [best_first(row) for row in first]
    other = found.other_encounter
    assert other is not None
    assert other.top_index[0].tolist() == [g for g in best_first(second[0]) if not own[g]] + [-1, -1]
    assert other.top_index[1].tolist() == best_first(second[1])
    blind = replace(looking, features=None)  # type: ignore[arg-type]
    part = LocalPart(references, blind, Matching(), settings, tmp_path)
    given = task((looking, references, sides[2]))
    fused = rank_fused(given, Fused((curve(0, 20),), (1.0,)), np.arange(10), [None, part], k=20)
    assert fused.top_index[:, 0].tolist() == found.top_index[:, 0].tolist()
    assert fused.other_encounter is None


def test_a_shortlist_is_not_searched_again_without_the_own_encounter(
    sides: tuple[Looking, References, Vectors],
) -> None:
    looking, references = met(sides)
    config = Matching(shortlist=MatchedShortlist(by="vlad", size=4), exclude_same_encounter=True)
    found = ranked_of(rank_shortlisted(references, looking, sides[2], config, SETTING, np.arange(10), k=20))
    assert found.other_encounter is None
    own = set(np.flatnonzero(references.encounters_g == 0))
    assert found.top_index[0, 18:].tolist() == [-1, -1]
    assert not own & set(found.top_index[0])
    assert own < set(found.top_index[1])


@pytest.mark.parametrize("size", [2, 5])
def test_behind_a_shortlist_references_are_looked_up_as_queries_are(
    sides: tuple[Looking, References, Vectors], size: int
) -> None:
    _, references, vectors = sides
    config = Matching(shortlist=MatchedShortlist(by="vlad", size=size))
    found = look_up(references, vectors.references_gd, config, SETTING, np.arange(20))
    features, labels = references.features, references.identities_g
    assert features is not None
    full = score_block(features, NOWHERE, references, Matching(), SETTING)
    near = cosines(vectors.references_gd, vectors.references_gd)
    for place in range(20):
        others = np.arange(20) != place
        foreign = labels != labels[place]
        listed, strangers = (
            [g for g in best_first(near[place]) if may[g]][:size] for may in (others, foreign)
        )
        assert found.present[place] == full[place, listed].max()
        assert found.withheld[place] == full[place, strangers].max()
        best = min(listed, key=lambda g: (-full[place, g], g))
        assert found.right[place] == (labels[best] == labels[place])
    assert found.right.any()


def task(sides: tuple[Looking, References, Vectors], **changes: Any) -> Task:
    looking, references, _ = sides
    given: dict[str, Any] = {
        "labels_q": looking.labels_q,
        "labels_g": references.identities_g,
        "encounters_q": looking.encounters_q,
        "encounters_g": references.encounters_g,
        "hidden_g": None,
        "exclude": False,
        "size": None,
        "seed": 0,
    }
    return Task(**given | changes)


def curve(low: float, high: float) -> Calibrator:
    """A straight line from 0 at `low` to 1 at `high`."""
    return Calibrator("isotonic", np.array([low, high]), np.array([0.0, 1.0]), low, 1.0, 9, 3)


def parts_of(sides: tuple[Looking, References, Vectors]) -> list[Any]:
    looking, references, vectors = sides
    return [LocalPart(references, looking, Matching(), (SETTING, SETTING), None), vectors]


@pytest.mark.parametrize("size", [None, 5])
def test_fused_answers_are_those_of_a_plain_loop(
    sides: tuple[Looking, References, Vectors], size: int | None
) -> None:
    looking, references, vectors = sides
    fused = Fused((curve(0, 20), curve(-1, 1)), (0.5, 0.5))
    found = rank_fused(task(sides, size=size), fused, np.arange(10), [vectors, *parts_of(sides)], k=20)
    matches = score_block(looking.features, NOWHERE[:10], references, Matching(), SETTING)
    near = cosines(vectors.queries_qd, vectors.references_gd)
    probability = (np.clip(matches / 20, 0, 1) + (near + 1) / 2) / 2
    for q in range(10):
        listed = np.isin(np.arange(20), best_first(near[q])[: size or 20])
        expected = best_first(np.where(listed, probability[q], -1), near[q])
        assert found.top_index[q].tolist() == expected
        best = found.top_index[q, 0]
        assert found.top_score[q, 0] == pytest.approx(probability[q, best], abs=1e-6)
        if size:
            assert (found.top_score[q, size:] == -1).all()


def test_flat_steps_rank_by_the_scores_themselves(sides: tuple[Looking, References, Vectors]) -> None:
    _, _, vectors = sides
    flat = Calibrator("isotonic", np.array([0.0]), np.array([0.3]), 0.0, 1.0, 9, 3)
    fused = Fused((flat, flat), (0.5, 0.5))
    found = rank_fused(task(sides), fused, np.arange(10), [None, vectors, vectors], k=20)
    near = cosines(vectors.queries_qd, vectors.references_gd)
    assert found.top_index.tolist() == [best_first(row) for row in near]


def test_pairs_are_scored_without_the_photo_itself_and_without_any_query(
    sides: tuple[Looking, References, Vectors],
) -> None:
    _, references, vectors = sides
    # Reading a query photo's features or vectors would fail.
    blind = Looking(None, None, None)  # type: ignore[arg-type]
    blind_vectors = Vectors(None, vectors.references_gd)  # type: ignore[arg-type]
    parts = [None, LocalPart(references, blind, Matching(), (SETTING, SETTING), None), blind_vectors]
    pairs = lookup_pairs(task(sides, labels_q=None, encounters_q=None), np.arange(20), parts)
    assert len(pairs) == 20 * 19
    assert pairs.same.sum() == 20 * 3
    features = references.features
    assert features is not None
    full = score_block(features, NOWHERE, references, Matching(), SETTING)
    near = cosines(vectors.references_gd, vectors.references_gd)
    for own in range(20):
        here = pairs.lookup == own
        others = np.arange(20) != own
        for part, expected in enumerate([full[own, others], near[own, others]]):
            np.testing.assert_allclose(np.sort(pairs.scores[here, part]), np.sort(expected), atol=1e-6)


def test_pairs_behind_a_shortlist_and_with_hidden_references(
    sides: tuple[Looking, References, Vectors],
) -> None:
    _, references, vectors = sides
    hidden = np.arange(20) % 4 == 0
    near = cosines(vectors.references_gd, vectors.references_gd)
    near[:, hidden] = -9
    pairs = lookup_pairs(
        task(sides, hidden_g=hidden, size=6), np.flatnonzero(hidden), [vectors, *parts_of(sides)]
    )
    for own in np.flatnonzero(hidden):
        here = pairs.lookup == own
        chosen = best_first(near[own])[:6]
        np.testing.assert_allclose(np.sort(pairs.scores[here, 1]), np.sort(near[own, chosen]), atol=1e-6)
        same = references.identities_g[chosen] == references.identities_g[own]
        assert pairs.same[here].sum() == same.sum()


def test_references_of_the_same_encounter_never_answer_and_do_not_count_as_right(
    sides: tuple[Looking, References, Vectors],
) -> None:
    looking, references, _ = sides
    fused = Fused((curve(0, 20), curve(-1, 1)), (0.5, 0.5))
    given = task(sides, exclude=True, encounters_q=looking.labels_q, encounters_g=references.identities_g)
    found = rank_fused(given, fused, np.arange(10), [None, *parts_of(sides)], k=16)
    assert (found.first_correct == 0).all()
    top = references.identities_g[found.top_index]
    assert (top != looking.labels_q[:, None]).all()


def test_a_trained_model_is_looked_up_by_photos_it_was_not_trained_on() -> None:
    rows = pd.DataFrame(
        {"dataset": "a", "split": "reference", "domain": "seen", "validation": np.arange(12) % 5 == 0}
    )
    places = np.arange(2, 12)
    lookups, hidden = lookups_among(rows, places, trained=True, most=99, seed=0)
    assert places[lookups].tolist() == [5, 10]
    assert hidden is not None
    assert places[hidden].tolist() == [5, 10]  # nor do they answer one another
    lookups, hidden = lookups_among(rows, places, trained=False, most=99, seed=0)
    assert (lookups.tolist(), hidden) == (list(range(10)), None)
    unseen = rows.assign(domain="unseen", validation=False)
    lookups, hidden = lookups_among(unseen, places, trained=True, most=99, seed=0)
    assert (lookups.tolist(), hidden) == (list(range(10)), None)
    none_kept = rows.assign(validation=False)
    assert len(lookups_among(none_kept, places, trained=True, most=99, seed=0)[0]) == 0
    assert len(lookups_among(rows, places, trained=False, most=3, seed=0)[0]) == 3

"""What a process computes for a few photos, against plain loops."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collection import bench, gallery_of, table

from reid_ray.config.matching import MatchedShortlist, Matching
from reid_ray.evaluation.calibration import Calibrator
from reid_ray.evaluation.fusion import Fused, Pairs, fit
from reid_ray.evaluation.ranking import Ranked
from reid_ray.evaluation.stream import unit_rows
from reid_ray.matching.engine import Packed
from reid_ray.matching.kept import kept_scores
from reid_ray.matching.scoring import References, Setting, score_views
from reid_ray.methods.fusion import FusionScorer, PairsRequest
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalScorer
from reid_ray.methods.ready import MEASURED, AnimalsRequest
from reid_ray.methods.scorer import EmbeddingScorer, ScoreBlock, per_animal
from reid_ray.methods.shortlist import ShortlistScorer

SETTING = Setting(threshold=0.7)
Sides = tuple[Gallery, LocalScorer, EmbeddingScorer]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """Two photos of each animal are asked among the other four; vectors know a little of the animals."""
    gallery = gallery_of(table())
    config = Matching.parse({"extractor": {"kind": "sift", "max_keypoints": 30}}, where="test")
    features = bench(tmp_path_factory.mktemp("features")).features(gallery.photos, config)
    searched = features.take(np.arange(20))
    references = References(Packed.of(searched), gallery.labels_g, gallery.encounters_g, searched)
    local = LocalScorer(Matching(), references, features.take(gallery.queries), (SETTING, SETTING))
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(30, 4)) + 1.2 * rng.normal(size=(5, 4))[gallery.labels]
    return gallery, local, EmbeddingScorer.of(vectors.astype(np.float32))


def matches(sides: Sides, asked: np.ndarray, setting: Setting = SETTING) -> np.ndarray:
    """Counts [a, 20] by one call of the matcher for each photo."""
    _, local, _ = sides
    rows = []
    for photo in asked:
        packed, features = local.of(sides[0], np.array([photo]))
        out = np.zeros((1, 20), bool)
        rows.append(score_views(packed, features, local.references, Matching(), [(setting, out)])[0, 0])
    return np.array(rows)


def cosines(near: EmbeddingScorer, asked: np.ndarray) -> np.ndarray:
    return near.units[asked] @ near.units[:20].T


def best_first(*keys: np.ndarray) -> list[int]:
    """Positions by the first key, highest first, then by the next."""
    return np.lexsort([-key for key in reversed(keys)]).tolist()


def ranked(arrays: dict[str, Any]) -> Ranked:
    return Ranked.of_arrays({name: one for name, one in arrays.items() if not name.startswith(MEASURED)})


@pytest.mark.parametrize("size", [1, 4, 20, 99])
def test_a_shortlist_ranks_candidates_by_matches_and_all_the_rest_by_embedding(
    sides: Sides, size: int
) -> None:
    gallery, local, near = sides
    found = ShortlistScorer(near, local, size, (1, 2, 5, 10, 20)).rank(gallery, gallery.queries, k=20)
    full, likeness = matches(sides, gallery.queries), cosines(near, gallery.queries)
    for q, photo in enumerate(gallery.queries):
        order = best_first(likeness[q])
        listed = np.isin(np.arange(20), order[:size])
        expected = best_first(np.where(listed, full[q], -1), likeness[q])
        assert found["top_index"][q].tolist() == expected
        same = gallery.labels_g == gallery.labels[photo]
        assert found["first_correct"][q] == 1 + np.flatnonzero(same[expected])[0]
        for place, length in enumerate([1, 2, 5, 10, 20]):
            few = order[:length]
            assert found["measured_among"][q, place] == same[few].any()
            assert found["measured_right"][q, place] == same[few[int(np.argmax(full[q, few]))]]
    assert found["measured_among"][:, -1].all()
    assert 0 < found["measured_right"][:, 0].sum() < found["measured_right"][:, -1].sum()


def test_a_shortlist_can_go_by_local_features_and_then_by_a_fusion(sides: Sides) -> None:
    """LNBNN's votes make the list anew for each set of photos that may answer; counts rank it."""
    gallery, local, near = sides
    votes = replace(local, config=Matching(score="lnbnn"), settings=(Setting(neighbours=3),) * 2)
    fused = FusionScorer((near, near), Fused((curve(-1, 1), curve(-1, 1)), (0.5, 0.5)))
    asked = gallery.queries[:3]
    full = matches(sides, asked)
    out = np.zeros((3, 20), bool)
    out[1, [0, 5, 6]] = True
    for lister in (votes, fused):
        scorer = ShortlistScorer(lister, local, 4)
        block = scorer.scores(gallery, asked, [out])
        for q, photo in enumerate(asked):
            one = np.array([photo])
            if lister is votes:
                packed, features = votes.of(gallery, one)
                views = [(votes.settings[0], out[q : q + 1])]
                likeness = score_views(packed, features, votes.references, votes.config, views)[0, 0]
            else:
                likeness = np.where(out[q], -np.inf, cosines(near, one)[0])
            order = best_first(likeness)
            listed = np.isin(np.arange(20), order[:4])
            expected = best_first(np.where(out[q], -2, np.where(listed, full[q], -1)), likeness)
            assert block.order is not None
            places = np.argsort(block.order[q])
            assert best_first(block.scores[0, q], -places)[:17] == expected[:17]


def test_scores_that_depend_on_the_others_are_made_anew_for_each_length(sides: Sides) -> None:
    gallery, local, near = sides
    few = np.array([17, 2, 9, 11, 4])
    photo = int(gallery.queries[3])
    for config, same in ((Matching(), True), (Matching(score="lnbnn"), False)):
        scorer = ShortlistScorer(near, replace(local, config=config), 3)
        scores_of = scorer._scores_of(gallery, photo, few)
        for length in (2, 4):
            alone = scorer.local.score_candidates(gallery, np.array([photo]), [few[:length]])[0]
            assert scores_of(length).tolist() == alone.tolist()
            assert (alone.tolist() == scores_of(5)[:length].tolist()) == same


def test_a_fitted_fusion_tells_apart_whatever_it_ranks_apart(sides: Sides) -> None:
    """Two in one flat step would be one to the model of probabilities; it ranks by the mean of the curves."""
    gallery, _, near = sides
    rng = np.random.default_rng(0)
    same = rng.random(2000) < 0.1
    taught = (rng.normal(0.2, 0.3, (2000, 2)) + 0.3 * same[:, None]).astype(np.float32)
    of = np.arange(2000) // 20
    pairs = Pairs(taught, same, of, of, np.ones(2000, np.float32))
    scorer = FusionScorer(
        (near, Blurred(near)), fit(pairs, kind="isotonic", combine="mean", choose_weights=False).fused
    )
    asked = gallery.queries
    out = np.zeros((len(asked), 20), bool)
    found = scorer.scores(gallery, asked, [out]).scores[0]
    each = [
        near.scores(gallery, asked, [out]).scores[0],
        Blurred(near).scores(gallery, asked, [out]).scores[0],
    ]
    assert scorer.fused is not None
    curves = [
        np.interp(one, curve.scores, curve.values)
        for one, curve in zip(each, scorer.fused.curves, strict=True)
    ]
    by_hand = np.clip((curves[0] + curves[1]) / 2, 1e-6, 1 - 1e-6)
    np.testing.assert_allclose(scorer.even(found), np.log(by_hand / (1 - by_hand)), rtol=1e-4, atol=1e-4)


@dataclass(frozen=True)
class Blurred:
    """A scorer that hears another one badly."""

    other: EmbeddingScorer
    both_views = excludes_encounter = False
    pairwise = True

    def scores(self, gallery: Gallery, asked: np.ndarray, outs: Any) -> ScoreBlock:
        heard = self.other.scores(gallery, asked, outs).scores
        return ScoreBlock((heard + np.random.default_rng(2).normal(0, 0.2, heard.shape)).astype(np.float32))

    def rank(self, gallery: Gallery, asked: np.ndarray, *, k: int) -> dict[str, Any]:
        raise AssertionError("only scored")

    def even(self, scores: np.ndarray) -> np.ndarray:
        return scores


def test_kept_scores_are_read_and_damaged_ones_made_again(sides: Sides, tmp_path: Path) -> None:
    gallery, local, _ = sides
    keeping = replace(local, kept=tmp_path)
    first = keeping.rank(gallery, gallery.queries, k=5)
    paths = sorted(tmp_path.glob("*.npy"))
    assert len(paths) == 2  # eight queries, then two
    paths[0].write_bytes(paths[0].read_bytes()[:200])
    again = keeping.rank(gallery, gallery.queries, k=5)
    for name, expected in first.items():
        np.testing.assert_array_equal(again[name], expected)
    blind = replace(keeping, references=None, queries=None)  # nothing can be scored anew
    fused = FusionScorer((blind,), Fused((curve(0, 20),), (1.0,)))
    joined = fused.rank(gallery, gallery.queries, k=5)
    assert joined["top_index"][:, 0].tolist() == first["top_index"][:, 0].tolist()
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(1)
        return np.zeros((2, 20), np.float32)

    name = paths[1].stem
    rows = 8 if np.load(paths[1], allow_pickle=False).shape[0] == 8 else 2
    kept_scores(tmp_path, name, (rows, 20), make)
    assert not made
    kept_scores(tmp_path, name, (rows, 21), make)
    assert made


def met(sides: Sides) -> Sides:
    """The same photos, the first query and two references of its animal in one encounter."""
    gallery, local, near = sides
    encounters = np.arange(100, 130)
    own = np.flatnonzero(gallery.labels_g == gallery.labels[20])[:2]
    encounters[[*own, 20]] = 0
    references = replace(local.references, encounters_g=encounters[:20])
    return replace(gallery, encounters=encounters), replace(local, references=references), near


def test_a_second_view_leaves_out_the_own_encounter_by_its_own_setting(sides: Sides) -> None:
    gallery, local, _ = met(sides)
    loose = Setting(threshold=0.9)
    found = ranked(replace(local, settings=(SETTING, loose)).rank(gallery, gallery.queries, k=20))
    first, second = matches(sides, gallery.queries), matches(sides, gallery.queries, loose)
    own = gallery.encounters_g == 0
    assert found.top_index.tolist() == [best_first(row) for row in first]
    other = found.other_encounter
    assert other is not None
    assert other.top_index[0].tolist() == [g for g in best_first(second[0]) if not own[g]] + [-1, -1]
    assert other.top_index[1].tolist() == best_first(second[1])


def test_a_shortlist_is_not_searched_again_without_the_own_encounter(sides: Sides) -> None:
    gallery, local, near = met(sides)
    config = Matching(shortlist=MatchedShortlist(by="vlad", size=4), exclude_same_encounter=True)
    found = ranked(
        ShortlistScorer(near, replace(local, config=config), 4).rank(gallery, gallery.queries, k=20)
    )
    assert found.other_encounter is None
    own = set(np.flatnonzero(gallery.encounters_g == 0))
    assert found.top_index[0, 18:].tolist() == [-1, -1]
    assert not own & set(found.top_index[0])
    assert own < set(found.top_index[1])


def curve(low: float, high: float) -> Calibrator:
    """A straight line from 0 at `low` to 1 at `high`."""
    return Calibrator("isotonic", np.array([low, high]), np.array([0.0, 1.0]), low, 1.0, 9, 3)


@pytest.mark.parametrize("size", [None, 5])
def test_fused_answers_are_those_of_a_plain_loop(sides: Sides, size: int | None) -> None:
    gallery, local, near = sides
    fused = Fused((curve(0, 20), curve(-1, 1)), (0.5, 0.5))
    scorer = FusionScorer((local, near), fused, near if size else None, size)
    found = ranked(scorer.rank(gallery, gallery.queries, k=20))
    likeness = cosines(near, gallery.queries)
    counts = matches(sides, gallery.queries)
    probability = (np.clip(counts / 20, 0, 1) + (likeness + 1) / 2) / 2
    for q in range(10):
        listed = np.isin(np.arange(20), best_first(likeness[q])[: size or 20])
        expected = best_first(np.where(listed, probability[q], -1), likeness[q])
        assert found.top_index[q].tolist() == expected
        best = found.top_index[q, 0]
        assert found.top_score[q, 0] == pytest.approx(probability[q, best], abs=1e-6)
        if size:
            assert (found.top_score[q, size:] == -1).all()


def test_flat_steps_rank_by_the_scores_themselves(sides: Sides) -> None:
    gallery, _, near = sides
    flat = Calibrator("isotonic", np.array([0.0]), np.array([0.3]), 0.0, 1.0, 9, 3)
    scorer = FusionScorer((near, near), Fused((flat, flat), (0.5, 0.5)))
    found = scorer.rank(gallery, gallery.queries, k=20)
    assert found["top_index"].tolist() == [best_first(row) for row in cosines(near, gallery.queries)]


def test_pairs_are_scored_without_the_photo_itself_and_without_any_query(sides: Sides) -> None:
    gallery, local, near = sides
    blind = replace(local, queries=None)  # reading a query photo's features would fail
    units = near.units.copy()
    units[20:] = np.nan
    scorer = FusionScorer((blind, EmbeddingScorer(units)), None)
    pairs = Pairs(**PairsRequest(np.arange(20), None, 0).run(scorer, gallery))
    assert len(pairs) == 20 * 19
    assert pairs.same.sum() == 20 * 3
    full, likeness = matches(sides, np.arange(20)), cosines(near, np.arange(20))
    np.testing.assert_array_equal(pairs.animal, gallery.labels[pairs.query])
    for own in range(20):
        here = pairs.query == own
        others = np.arange(20) != own
        for part, expected in enumerate([full[own, others], likeness[own, others]]):
            np.testing.assert_allclose(np.sort(pairs.scores[here, part]), np.sort(expected), atol=1e-6)


def test_pairs_behind_a_shortlist_and_with_hidden_references(sides: Sides) -> None:
    gallery, local, near = sides
    hidden = np.arange(20) % 4 == 0
    likeness = cosines(near, np.arange(20))
    likeness[:, hidden] = -9
    scorer = FusionScorer((local, near), None, near, 6)
    pairs = Pairs(**PairsRequest(np.flatnonzero(hidden), hidden, 0).run(scorer, gallery))
    for own in np.flatnonzero(hidden):
        here = pairs.query == own
        chosen = best_first(likeness[own])[:6]
        np.testing.assert_allclose(np.sort(pairs.scores[here, 1]), np.sort(likeness[own, chosen]), atol=1e-6)
        assert pairs.same[here].sum() == (gallery.labels_g[chosen] == gallery.labels[own]).sum()


def test_references_of_the_same_encounter_never_answer_a_fusion_that_leaves_them_out(sides: Sides) -> None:
    gallery, local, near = sides
    gallery = replace(gallery, encounters=gallery.labels)
    fused = Fused((curve(0, 20), curve(-1, 1)), (0.5, 0.5))
    scorer = FusionScorer((local, near), fused, excludes_encounter=True)
    found = ranked(scorer.rank(gallery, gallery.queries, k=16))
    assert (found.first_correct == 0).all()
    assert (gallery.labels_g[found.top_index] != gallery.labels[gallery.queries][:, None]).all()


def test_an_animal_is_scored_by_its_best_photo_and_by_the_mean_of_its_best_two() -> None:
    scores = np.array([[1, 5, 3, 5, 2], [9, -np.inf, 2, -np.inf, 4]], np.float32)
    found = per_animal(ScoreBlock(scores[None]), scores, np.array([0, 1, 0, 1, 0]), 3)
    assert found.scores[0].tolist() == [[3, 5, -np.inf], [9, -np.inf, -np.inf]]
    assert found.scores[1].tolist() == [[2.5, 5, -np.inf], [6.5, -np.inf, -np.inf]]
    assert found.photo.tolist() == [[2, 1, -1], [0, -1, -1]]
    alone = np.array([[3, -np.inf, 1]], np.float32)
    one = per_animal(ScoreBlock(alone[None]), alone, np.array([0, 0, 1]), 2)
    assert one.scores[0].tolist() == one.scores[1].tolist() == [[3, 1]]


def test_equal_scores_of_animals_keep_the_order_in_which_photos_rank(sides: Sides) -> None:
    """The first animal is that of the first reference, for counts (by position) and fusions (by order)."""
    gallery, local, near = sides
    flat = Calibrator("isotonic", np.array([0.0]), np.array([0.3]), 0.0, 1.0, 9, 3)
    few = replace(local, settings=(Setting(threshold=0.2),) * 2)  # hardly any match: many ties
    for scorer in (few, FusionScorer((few, near), Fused((flat, flat), (0.5, 0.5)))):
        top = scorer.rank(gallery, gallery.queries, k=1)["top_index"][:, 0]
        animals = AnimalsRequest(gallery.queries, False, None, False).run(scorer, gallery)
        assert animals.first().tolist() == gallery.labels_g[top].tolist()
        assert animals.photo[np.arange(10), animals.first()].tolist() == top.tolist()


def test_cosines_are_the_exact_searchs_own_to_the_bit(sides: Sides) -> None:
    gallery, _, near = sides
    out = np.zeros((10, 20), bool)
    scores = near.scores(gallery, gallery.queries, [out]).scores[0]
    found = near.rank(gallery, gallery.queries, k=20)
    for q in range(10):
        expected = np.array(
            [
                np.float32(np.dot(near.units[20 + q].astype(np.float64), near.units[g].astype(np.float64)))
                for g in range(20)
            ]
        )
        assert scores[q].tolist() == expected.tolist()
        assert found["top_index"][q].tolist() == best_first(expected)


def test_all_zero_vectors_are_like_nobody() -> None:
    assert unit_rows(np.zeros((1, 3), np.float32))[0].tolist() == [[0, 0, 0]]

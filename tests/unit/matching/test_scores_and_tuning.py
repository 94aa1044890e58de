"""What is chosen on the references, LNBNN and scoring against plain loops."""

from collections import Counter

import numpy as np
import pytest
from feature_images import byte_images, score_block
from numpy.typing import NDArray

from reid_ray.config.matching import Disk, Distance, LightGlue, Matching, Verify
from reid_ray.datasets.encounters import same_encounter
from reid_ray.matching import scoring, second_look, tuning
from reid_ray.matching.engine import Packed, count_block
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.lnbnn import lnbnn_block
from reid_ray.matching.scoring import EXCLUDED, References, Setting, settings_of

NOWHERE = np.full(20, -1)
SETTING = Setting(threshold=0.9, neighbours=2, distance="squared")


def references_of(features: Features, identities: list[int], encounters: list[int]) -> References:
    return References(Packed.of(features), np.array(identities), np.array(encounters), features)


def outs_of(references: References, *, encounter: bool) -> NDArray[np.bool_]:
    """What each reference must not find: itself, and its encounter where that is left out."""
    count = len(references.identities_g)
    out = np.eye(count, dtype=bool)
    if encounter:
        out |= same_encounter(references.encounters_g, references.encounters_g)
    return out


def chosen(references: References, config: Matching) -> tuning.Tuned:
    out = outs_of(references, encounter=config.exclude_same_encounter)
    count = len(references.identities_g)
    right = tuning.right_per_setting(references, config, np.arange(count), [out, out])
    return tuning.best_of(settings_of(config), right[0].sum(axis=0), count)


@pytest.mark.parametrize("per_identity", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
def test_the_threshold_is_the_one_a_plain_leave_one_out_loop_finds(per_identity: bool, exclude: bool) -> None:
    features = byte_images([12, 20, 9, 15, 3, 30, 1, 18], seed=1, values=16)
    identities, encounters = [0, 0, 1, 1, 2, 2, 0, 3], [5, 5, 6, -1, -1, 8, 5, 9]
    config = Matching(thresholds=(0.9, 0.5, 0.7), per_identity=per_identity, exclude_same_encounter=exclude)
    references = references_of(features, identities, encounters)
    counts = count_block(references.packed, 0, 8, references.packed, config.thresholds)
    right = np.zeros(3)
    for i in range(8):
        others = [
            j
            for j in range(8)
            if j != i and not (exclude and encounters[i] >= 0 and encounters[i] == encounters[j])
        ]
        for t in range(3):
            sums = Counter[int]()
            for j in others:
                sums[identities[j]] += int(counts[i, j, t])
            most = max(counts[i, j, t] for j in others)

            def score(j: int, t: int = t, i: int = i, sums: Counter[int] = sums, most: int = most) -> float:
                own = float(counts[i, j, t])
                return sums[identities[j]] + own / (1 + most) if per_identity else own

            best = max(score(j) for j in others)
            tied = [j for j in others if score(j) == best]
            right[t] += sum(identities[j] == identities[i] for j in tied) / len(tied)
    tuned = chosen(references, config)
    np.testing.assert_allclose(np.array(tuned.top1) * 8, right[[1, 2, 0]])
    equal = [t for t, value in zip(config.thresholds, right, strict=True) if value >= right.max() - 1e-9]
    assert tuned.setting.threshold == min(equal)
    assert tuned.best == pytest.approx(right.max() / 8)


def test_of_equally_good_settings_the_first_is_taken_and_thresholds_come_in_order() -> None:
    settings = settings_of(Matching(thresholds=(0.9, 0.5, 0.7)))
    assert [setting.threshold for setting in settings] == [0.5, 0.7, 0.9]
    equal = tuning.best_of(settings, np.array([2.0, 2.0 + 1e-12, 2.0]), 4)
    assert equal.setting.threshold == 0.5
    assert tuning.best_of(settings, np.array([2.0, 2.0, 3.0]), 4).setting.threshold == 0.9


@pytest.mark.parametrize("per_identity", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
def test_lnbnns_neighbours_and_distances_are_chosen_as_by_brute_force(
    per_identity: bool, exclude: bool
) -> None:
    features = byte_images([12, 20, 9, 15, 3, 30, 1, 18], seed=1, values=16)
    identities, encounters = [0, 0, 1, 1, 2, 2, 0, 3], [5, 5, 6, -1, -1, 8, 5, 9]
    config = Matching(
        score="lnbnn", neighbours=(4, 1, 2), per_identity=per_identity, exclude_same_encounter=exclude
    )
    kinds: tuple[Distance, ...] = ("squared", "plain")
    candidates = [(neighbours, kind) for neighbours in (1, 2, 4) for kind in kinds]
    assert [(s.neighbours, s.distance) for s in settings_of(config)] == candidates
    right = np.zeros(len(candidates))
    for i in range(8):
        others = [
            j
            for j in range(8)
            if j != i and not (exclude and encounters[i] >= 0 and encounters[i] == encounters[j])
        ]
        names = [identities[j] for j in others]
        groups = names if per_identity else list(range(len(others)))
        for s, (neighbours, kind) in enumerate(candidates):
            scores = np.array(
                naive_lnbnn(
                    features.image(i).descriptors,
                    features.take(others),
                    min(neighbours, len(others) - 1),
                    groups,
                    kind,
                )
            )
            tied = np.flatnonzero(np.isclose(scores, scores.max(), rtol=1e-12, atol=0))
            right[s] += sum(names[j] == identities[i] for j in tied) / len(tied)
    tuned = chosen(references_of(features, identities, encounters), config)
    np.testing.assert_allclose(np.array(tuned.top1) * 8, right)
    assert len(set(np.round(right, 6))) > 1
    best = candidates[int(np.argmax(np.round(right, 9)))]
    assert (tuned.setting.neighbours, tuned.setting.distance) == best


def naive_lnbnn(
    query: NDArray[np.uint8],
    references: Features,
    neighbours: int,
    groups: list[int],
    kind: Distance = "squared",
) -> list[float]:
    """McCann and Lowe's algorithm, descriptor by descriptor."""
    totals = dict.fromkeys(groups, 0.0)
    for descriptor in query.astype(np.int64):
        nearest = sorted(
            (int(((references.image(g).descriptors - descriptor) ** 2).sum(1).min()), g)
            for g in range(len(references))
            if len(references.image(g))
        )[: neighbours + 1]
        power = {"squared": 1.0, "plain": 0.5}[kind]
        background = nearest[-1][0] ** power
        voted = set()
        for distance, g in nearest[:-1]:
            if groups[g] not in voted:
                totals[groups[g]] += background - distance**power
                voted.add(groups[g])
    return [totals[group] for group in groups]


@pytest.mark.parametrize("per_identity", [False, True])
@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_lnbnn_is_that_of_a_naive_loop(neighbours: int, per_identity: bool) -> None:
    queries, references = (
        byte_images([9, 0, 14], seed=2, values=5),
        byte_images([7, 3, 5, 11, 3], seed=3, values=5),
    )
    identities = [0, 1, 0, 2, 1]
    groups = identities if per_identity else [0, 1, 2, 3, 4]
    settings: list[tuple[int, Distance]] = [(neighbours, "squared"), (2, "plain")]
    found = lnbnn_block(
        Packed.of(queries),
        0,
        3,
        Packed.of(references),
        settings,
        identities_g=np.array(identities) if per_identity else None,
    )
    for scores, (count, kind) in zip(found, settings, strict=True):
        expected = [
            naive_lnbnn(queries.image(q).descriptors, references, min(count, 4), groups, kind)
            for q in range(3)
        ]
        assert np.sum(expected) > 0
        if kind == "squared":
            np.testing.assert_array_equal(scores, expected)
        np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=0)


def test_lnbnn_of_a_single_reference_is_silent() -> None:
    one = Packed.of(byte_images([5], seed=4))
    assert lnbnn_block(one, 0, 1, one, [(3, "squared")]).tolist() == [[[0.0]]]


def test_an_identitys_photos_share_their_sum_and_keep_their_own_order() -> None:
    scores = np.array([[3.0, 1.0, 2.0, 0.0, 2.0]])
    found = scoring.summed_per_identity(scores, np.array([7, 2, 2, 7, 2]))
    np.testing.assert_allclose(found, [[3.75, 5.25, 5.5, 3.0, 5.5]])


@pytest.mark.parametrize("score", ["count", "lnbnn"])
@pytest.mark.parametrize("per_identity", [False, True])
def test_references_of_the_same_encounter_are_as_if_they_were_not_there(
    score: str, per_identity: bool
) -> None:
    queries, features = (
        byte_images([20, 11], seed=5, values=6),
        byte_images([15, 18, 7, 22, 9], seed=6, values=6),
    )
    identities, encounters = [0, 0, 1, 2, 1], [4, -1, 4, 3, -1]
    config = Matching.parse(
        {"score": score, "per_identity": per_identity, "exclude_same_encounter": True}, where="test"
    )
    references = references_of(features, identities, encounters)
    found = score_block(queries, np.array([4, -1]), references, config, SETTING)
    kept = [1, 3, 4]
    smaller = references_of(features.take(kept), [0, 2, 1], [-1, 3, -1])
    np.testing.assert_allclose(
        found[0, kept], score_block(queries.take([0]), NOWHERE[:1], smaller, config, SETTING)[0]
    )
    assert (found[0, [0, 2]] == EXCLUDED).all()
    free = config.model_copy(update={"exclude_same_encounter": False})
    np.testing.assert_array_equal(found[1], score_block(queries, NOWHERE[:2], references, free, SETTING)[1])


def test_verified_candidates_rank_by_inliers_and_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, features = (byte_images([20], seed=7, values=6), byte_images([15, 18, 7, 22], seed=8, values=6))
    references = references_of(features, [0, 1, 2, 3], [-1] * 4)
    monkeypatch.setattr(scoring, "score_settings", lambda *_: np.array([[[[4.0, 9.0, 7.0, 8.0]]]]))
    seen = iter([2, 5])  # inliers of the best (1) and second best (3)
    monkeypatch.setattr(second_look, "match_pair", lambda *_, **__: np.zeros((9, 2), np.int64))
    monkeypatch.setattr(second_look, "inlier_mask", lambda *_: np.arange(9) < next(seen))
    config = Matching(verify=Verify(candidates=2))
    found = score_block(queries, NOWHERE[:1], references, config, SETTING)[0]
    assert np.argsort(-found).tolist() == [3, 1, 2, 0]


@pytest.mark.parametrize("score", ["count", "lnbnn"])
def test_settings_for_other_encounters_are_chosen_as_if_the_own_one_were_left_out(score: str) -> None:
    features = byte_images([12, 20, 9, 15, 3, 30, 1, 18], seed=1, values=16)
    references = references_of(features, [0, 0, 1, 1, 2, 2, 0, 3], [5, 5, 6, -1, -1, 8, 5, 9])
    config = Matching.parse(
        {"score": score, "thresholds": [0.5, 0.7, 0.9], "neighbours": [1, 2]}, where="test"
    )
    asked, itself, met = (
        np.arange(8),
        outs_of(references, encounter=False),
        outs_of(references, encounter=True),
    )
    both = tuning.right_per_setting(references, config, asked, [itself, met])
    left_out = tuning.right_per_setting(references, config, asked, [met, met])
    np.testing.assert_array_equal(both[1], left_out[0])
    np.testing.assert_array_equal(left_out[0], left_out[1])
    assert not np.array_equal(both[0], both[1])


def test_normalised_counts_are_divided_by_the_root_of_both_numbers_of_keypoints() -> None:
    queries = byte_images([20, 9], seed=7, values=6)
    features = byte_images([15, 18, 7, 22], seed=8, values=6)
    references = references_of(features, [0, 1, 0, 2], [-1] * 4)
    counts = score_block(queries, NOWHERE[:2], references, Matching(), SETTING)
    assert counts.max() > 3
    found = score_block(queries, NOWHERE[:2], references, Matching(normalised=True), SETTING)
    expected = [
        [counts[q, g] / (n * m) ** 0.5 for g, m in enumerate([15, 18, 7, 22])] for q, n in enumerate([20, 9])
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    summed = Matching(normalised=True, per_identity=True)
    sums = score_block(queries, NOWHERE[:2], references, summed, SETTING)
    for q, own in enumerate(np.array(expected)):
        totals = [own[0] + own[2], own[1], own[0] + own[2], own[3]]
        np.testing.assert_allclose(sums[q], totals, rtol=1e-4)
        assert (sums[q, 0] > sums[q, 2]) == (own[0] > own[2])


def test_a_pair_is_looked_at_once_for_all_views(monkeypatch: pytest.MonkeyPatch) -> None:
    queries = byte_images([20], seed=7, values=6)
    features = byte_images([15, 18, 7, 22], seed=8, values=6)
    references = references_of(features, [0, 1, 2, 3], [4, 5, 6, 7])
    looked: list[int] = []

    def matches(_: object, reference: ImageFeatures, ratio: float, *, mutual: bool) -> NDArray[np.int64]:
        assert (ratio, mutual) == (0.9, True)
        looked.append(len(reference))
        return np.zeros((len(reference), 2), np.int64)

    monkeypatch.setattr(second_look, "match_pair", matches)
    monkeypatch.setattr(second_look, "inlier_mask", lambda _, __, pairs, *___: np.ones(len(pairs), bool))
    config = Matching(mutual=True, verify=Verify(candidates=3))
    none = np.zeros((1, 4), bool)
    out = np.array([[False, True, False, False]])
    views = scoring.score_views(
        Packed.of(queries), queries, references, config, [(SETTING, none), (SETTING, out)]
    )
    assert len(looked) == len(set(looked))
    assert views[1][0, 1] == EXCLUDED
    assert np.argmax(views[1][0]) == 3


def test_lightglues_matches_put_candidates_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from reid_ray.matching import lightglue

    queries = byte_images([20], seed=7, values=6)
    features = byte_images([15, 18, 7, 22], seed=8, values=6)
    references = references_of(features, [0, 1, 2, 3], [-1] * 4)

    def matches(
        query: ImageFeatures, references: list[ImageFeatures], config: LightGlue, kind: str
    ) -> list[NDArray[np.int64]]:
        assert (len(query), config.weights, kind) == (20, "glue.pth", "disk")
        return [np.zeros((40 - len(reference), 2), np.int64) for reference in references]

    monkeypatch.setattr(lightglue, "match_pairs", matches)
    config = Matching(
        extractor=Disk(kind="disk", weights="d"),
        verify=LightGlue(model="lightglue", weights="glue.pth", candidates=9),
    )
    found = score_block(queries, NOWHERE[:1], references, config, SETTING)[0]
    assert np.floor(found).tolist() == [25, 22, 33, 18]


@pytest.mark.parametrize("config", [Matching(), Matching(per_identity=True), Matching(score="lnbnn")])
def test_a_withheld_animal_is_as_if_it_had_never_been_a_reference(config: Matching) -> None:
    features = byte_images([12, 20, 9, 15, 3, 30, 1, 18], seed=1, values=16)
    references = references_of(features, [0, 0, 1, 1, 2, 2, 0, 3], [-1] * 8)
    for place in range(8):
        looked_up = np.array([place])
        own = references.identities_g == references.identities_g[place]
        packed = references.packed.take(looked_up)
        scores = scoring.score_views(packed, None, references, config, [(SETTING, own[None])])[0, 0]
        assert (scores[own] == EXCLUDED).all()
        others = np.flatnonzero(~own)
        smaller = references_of(
            features.take(others), references.identities_g[others].tolist(), [-1] * len(others)
        )
        alone = score_block(features.take(looked_up), NOWHERE[:1], smaller, config, SETTING)[0]
        np.testing.assert_allclose(scores[others], alone, rtol=1e-5)

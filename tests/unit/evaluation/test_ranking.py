"""Ranking, checked against a plain sort."""

import numpy as np
import pytest

from reid_ray.evaluation.knn import cosine_knn
from reid_ray.evaluation.ranking import Ranked, concat, rank_block


def plain_sort(scores_qg, query_labels, reference_labels, k):
    """Every reference sorted by (-score, position), one query at a time, in Python."""
    top, first, average = [], [], []
    for scores, label in zip(scores_qg.tolist(), query_labels, strict=True):
        order = sorted(range(len(scores)), key=lambda g: (-scores[g], g))
        hits = [rank for rank, g in enumerate(order, 1) if reference_labels[g] == label]
        top.append((order + [-1] * k)[:k])
        first.append(hits[0] if hits else 0)
        average.append(sum(j / rank for j, rank in enumerate(hits, 1)) / len(hits) if hits else 0.0)
    return np.array(top).reshape(-1, k), first, average


def assert_same(ranked: Ranked, expected):
    top, first, average = expected
    np.testing.assert_array_equal(ranked.top_index, top)
    np.testing.assert_array_equal(ranked.first_correct, first)
    np.testing.assert_allclose(ranked.average_precision, average, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_ranks_equal_a_plain_sort_also_with_ties_and_more_kept_than_there_are(k, levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(-levels, levels, (30, 25)).astype(np.float32)
    ql, gl = rng.integers(0, 6, 30), rng.integers(0, 5, 25)
    ranked = rank_block(scores, ql, gl, k=k)
    assert_same(ranked, plain_sort(scores, ql, gl, k))
    kept = ranked.top_index >= 0
    rows = np.nonzero(kept)[0]
    np.testing.assert_array_equal(ranked.top_score[kept], scores[rows, ranked.top_index[kept]])
    assert np.isneginf(ranked.top_score[~kept]).all()


def test_a_hand_made_case_gives_the_numbers_of_the_textbook():
    # Order of references: 3, 0, 4, 1, 2; right ones (label 7) at ranks 2, 3 and 5.
    scores = np.array([[0.8, 0.2, 0.1, 0.9, 0.5]])
    ranked = rank_block(scores, [7], [7, 1, 7, 2, 7], k=2)
    assert ranked.top_index.tolist() == [[3, 0]]
    assert ranked.first_correct.tolist() == [2]
    assert ranked.average_precision[0] == pytest.approx((1 / 2 + 2 / 3 + 3 / 5) / 3)


def test_average_precision_agrees_with_scikit_learn_where_there_are_no_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((20, 50)).astype(np.float32)
    ql, gl = rng.integers(0, 4, 20), rng.integers(0, 4, 50)
    expected = [
        metrics.average_precision_score(gl == label, row) for label, row in zip(ql, scores, strict=True)
    ]
    np.testing.assert_allclose(rank_block(scores, ql, gl, k=1).average_precision, expected, rtol=1e-5)


def test_equal_scores_prefer_the_lower_position_and_minus_zero_equals_zero():
    ranked = rank_block(np.array([[0.0, -0.0, 0.0]]), [1], [0, 1, 0], k=3)
    assert ranked.top_index.tolist() == [[0, 1, 2]]
    assert ranked.first_correct.tolist() == [2]


def test_not_a_number_ranks_last_beside_minus_infinity():
    scores = np.array([[np.nan, -np.inf, np.inf, -1.0]])
    ranked = rank_block(scores, [1], [1, 0, 0, 0], k=4)
    assert ranked.top_index.tolist() == [[2, 3, 0, 1]]
    assert ranked.first_correct.tolist() == [3]


def test_match_counts_and_names_as_labels_are_ranked_too():
    ranked = rank_block(np.array([[3, 12, 12]]), ["a"], ["b", "c", "a"], k=2)
    assert ranked.top_index.tolist() == [[1, 2]]
    assert ranked.top_score.tolist() == [[12.0, 12.0]]
    assert ranked.first_correct.tolist() == [2]


def test_no_references_and_no_queries_are_answered_with_padding_and_nothing():
    none = rank_block(np.empty((2, 0)), [1, 2], [], k=3)
    assert none.top_index.tolist() == [[-1] * 3] * 2
    assert none.first_correct.tolist() == [0, 0]
    assert len(cosine_knn(np.empty((0, 4)), np.ones((3, 4)), [], [1, 2, 3], k=2)) == 0
    assert len(concat([])) == 0


def test_scores_and_labels_that_disagree_in_number_are_refused():
    with pytest.raises(ValueError, match="scores are"):
        rank_block(np.zeros((1, 3)), [1], [1, 2], k=1)


@pytest.mark.parametrize("block", [(7, 5), (64, 13), (256, 16384)])
@pytest.mark.parametrize("k", [1, 4, 80])
def test_search_by_blocks_equals_a_plain_sort_also_with_ties(block, k):
    """Embeddings of 16 signs have length 4 and integer products: ties are exact."""
    rng = np.random.default_rng(k)
    queries = rng.choice([-1.0, 1.0], (40, 16))
    references = rng.choice([-1.0, 1.0], (60, 16))
    references[30:40] = references[:10]
    ql, gl = rng.integers(0, 9, 40), rng.integers(0, 7, 60)
    ranked = cosine_knn(queries, references, ql, gl, k=k, block=block)
    assert_same(ranked, plain_sort((queries / 4) @ (references / 4).T, ql, gl, k))


def test_search_ignores_the_length_of_embeddings_and_survives_zeros():
    rng = np.random.default_rng(1)
    queries, references = rng.standard_normal((5, 8)), rng.standard_normal((9, 8))
    references[3] = 0
    labels_q, labels_g = np.arange(5), np.arange(9) % 5
    plain = cosine_knn(queries, references, labels_q, labels_g, k=9)
    scaled = cosine_knn(queries * 100, references * rng.uniform(1, 9, (9, 1)), labels_q, labels_g, k=9)
    np.testing.assert_array_equal(plain.top_index, scaled.top_index)
    assert (plain.top_score[plain.top_index == 3] == 0).all()
    np.testing.assert_allclose(
        plain.top_score[0, 0],
        max(
            q @ r / np.linalg.norm(q) / np.linalg.norm(r)
            for q, r in [(queries[0], r) for i, r in enumerate(references) if i != 3]
        ),
        rtol=1e-6,
    )


def test_many_random_embeddings_give_the_same_answers_for_every_block_size():
    rng = np.random.default_rng(2)
    queries = rng.standard_normal((100, 32), np.float32)
    references = rng.standard_normal((3000, 32), np.float32)
    ql, gl = rng.integers(0, 50, 100), rng.integers(0, 50, 3000)
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)  # noqa: E731
    scores = unit(queries.astype(np.float64)) @ unit(references.astype(np.float64)).T
    expected = plain_sort(scores, ql, gl, 10)
    assert_same(cosine_knn(queries, references, ql, gl, k=10), expected)
    assert_same(cosine_knn(queries, references, ql, gl, k=10, block=(33, 701)), expected)


@pytest.mark.parametrize("levels", [2, 1000])
def test_references_left_out_are_as_if_they_were_not_there(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(-levels, levels, (20, 25)).astype(np.float32)
    ql, gl = rng.integers(0, 6, 20), rng.integers(0, 5, 25)
    out = rng.random((20, 25)) < 0.3
    out[3] = True
    ranked = rank_block(scores, ql, gl, k=4, left_out_qg=out)
    for q in range(20):
        kept = np.flatnonzero(~out[q])
        top, first, average = plain_sort(scores[q : q + 1, kept], ql[q : q + 1], gl[kept], 4)
        top = np.where(top >= 0, kept[top] if len(kept) else -1, -1)
        own = Ranked(*(array[q : q + 1] for array in list(vars(ranked).values())[:4]))
        assert_same(own, (top, first, average))


@pytest.mark.parametrize("references", [5, 16384])
def test_answers_without_the_own_encounter_come_along_with_the_embeddings(references):
    rng = np.random.default_rng(3)
    queries, searched = rng.standard_normal((9, 4)), rng.standard_normal((23, 4))
    ql, gl = rng.integers(0, 4, 9), rng.integers(0, 4, 23)
    eq, eg = rng.integers(-1, 3, 9), rng.integers(-1, 3, 23)
    block = (4, references)
    ranked = cosine_knn(queries, searched, ql, gl, k=6, encounters=(eq, eg), block=block)
    assert_same(ranked, vars_of(cosine_knn(queries, searched, ql, gl, k=6)))
    other = ranked.other_encounter
    assert len(set(ranked.average_precision - other.average_precision)) > 3
    for q in range(9):
        kept = np.flatnonzero((eg != eq[q]) | (eq[q] < 0))
        own = cosine_knn(queries[[q]], searched[kept], ql[[q]], gl[kept], k=6)
        assert (
            other.top_index[q].tolist()
            == np.where(own.top_index[0] >= 0, kept[own.top_index[0]], -1).tolist()
        )
        assert other.first_correct[q] == own.first_correct[0]
        assert other.average_precision[q] == pytest.approx(own.average_precision[0])


def vars_of(ranked: Ranked):
    return ranked.top_index, ranked.first_correct, ranked.average_precision


def test_ranked_answers_are_taken_apart_and_put_together_also_with_other_encounters():
    plain = rank_block(np.eye(3), [0, 1, 2], [0, 1, 1], k=2)
    both = Ranked(*list(vars(plain).values())[:4], other_encounter=plain)
    assert Ranked.of_arrays(plain.arrays()).other_encounter is None
    back = Ranked.of_arrays(both.arrays())
    assert_same(back, vars_of(plain))
    assert_same(back.other_encounter, vars_of(plain))
    joined = concat([both, both])
    assert joined.other_encounter.first_correct.tolist() == [1, 1, 0] * 2

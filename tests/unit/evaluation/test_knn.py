"""The streamed search, checked against float64 products sorted in full."""

import numpy as np
import pytest
import torch

from reid_ray.evaluation import knn, stream
from reid_ray.evaluation.knn import cosine_knn
from reid_ray.evaluation.ranking import Ranked

FIELDS = ("top_index", "top_score", "first_correct", "average_precision")


def unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32).astype(np.float64)  # vectors are kept in float32


def brute_force(
    queries: np.ndarray, references: np.ndarray, ql: np.ndarray, gl: np.ndarray, k: int
) -> Ranked:
    """All scores in float64, rounded to float32, stably sorted: equal ones stay in their order."""
    scores = (unit(queries) @ unit(references).T).astype(np.float32)
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = gl[order] == ql[:, None]
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, 0)
    shares = np.cumsum(hits, axis=1) / np.arange(1, len(references) + 1)
    average = np.where(hits, shares, 0).sum(axis=1) / np.maximum(1, hits.sum(axis=1))
    top = order[:, :k]
    return Ranked(top, np.take_along_axis(scores, top, axis=1), first, average)


def assert_equal(found: Ranked, expected: Ranked) -> None:
    np.testing.assert_array_equal(found.top_index, expected.top_index)
    np.testing.assert_allclose(found.top_score, expected.top_score, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(found.first_correct, expected.first_correct)
    np.testing.assert_allclose(found.average_precision, expected.average_precision, rtol=1e-6)


@pytest.fixture(params=[True, False], ids=["coarse", "fine"], autouse=True)
def coarse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether products are first made of bfloat16, whatever this processor is good at."""
    monkeypatch.setattr(stream, "_coarse_pays", lambda dims: request.param)
    return bool(request.param)


@pytest.mark.parametrize("identities", [2000, 40, 5], ids=["few right", "some", "many right"])
def test_answers_equal_brute_force_for_few_and_many_right_references(identities: int) -> None:
    rng = np.random.default_rng(identities)
    queries = rng.standard_normal((90, 48), np.float32)
    references = rng.standard_normal((2500, 48), np.float32)
    ql, gl = rng.integers(0, identities, 90), rng.integers(0, identities, 2500)
    expected = brute_force(queries, references, ql, gl, 7)
    assert_equal(cosine_knn(queries, references, ql, gl, k=7, block=(37, 512)), expected)


def test_photos_that_are_there_twice_tie_wherever_they_stand() -> None:
    """A plain product rounds equal vectors differently at the edges of its blocks."""
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((20, 301), np.float32)
    once = rng.standard_normal((700, 301), np.float32)
    references = np.concatenate([once, once, once])
    gl = np.arange(2100)
    ranked = cosine_knn(queries, references, gl[1400:1420], gl, k=9, block=(7, 233))
    by_three = np.sort(ranked.top_index.reshape(20, 3, 3), axis=2)
    np.testing.assert_array_equal(ranked.top_index.reshape(20, 3, 3), by_three)
    np.testing.assert_array_equal(by_three[..., 1:] - by_three[..., :-1], 700)
    expected = brute_force(queries, references, gl[1400:1420], gl, 9)
    np.testing.assert_array_equal(ranked.first_correct % 3, 0)  # two equal ones are ahead of it
    np.testing.assert_array_equal(ranked.first_correct, expected.first_correct)


def test_answers_are_the_same_to_the_bit_for_every_block_part_and_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    queries = rng.standard_normal((50, 129), np.float32)
    references = rng.standard_normal((1200, 129), np.float32)
    ql, gl = rng.integers(0, 9, 50), rng.integers(0, 9, 1200)
    first = cosine_knn(queries, references, ql, gl, k=5, block=(50, 256))
    monkeypatch.setattr(knn, "_PART_PAIRS", 500)
    monkeypatch.setattr(knn, "_PART_QUERIES", 17)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = cosine_knn(queries, references, ql, gl, k=5, block=(11, 77))
    finally:
        torch.set_num_threads(before)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("alike", [False, True])
def test_products_are_coarse_until_too_much_is_near_a_decision(
    alike: bool, coarse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, mm = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b: made.append(a.dtype) or mm(a, b))
    rng = np.random.default_rng(8)
    queries, references = (rng.standard_normal((n, 512), np.float32) for n in (40, 3000))
    references[:40] += queries
    if alike:  # cosines of 0.999 and more: 8 bits tell none apart
        queries, references = 1 + queries / 40, 1 + references / 40
    ql, gl = np.arange(40), np.arange(3000)
    ranked = cosine_knn(queries, references, ql, gl, k=3, block=(40, 500))
    assert_equal(ranked, brute_force(queries, references, ql, gl, 3))
    assert made[0] == (torch.bfloat16 if coarse else torch.float32)
    assert made[-1] == (torch.bfloat16 if coarse and not alike else torch.float32)


def test_a_model_that_gives_every_photo_one_vector_ranks_by_position() -> None:
    same = np.full((600, 96), 0.3, np.float32)
    gl = np.arange(600) % 10
    ranked = cosine_knn(same[:8], same, np.arange(8), gl, k=4, block=(8, 100))
    np.testing.assert_array_equal(ranked.top_index, np.tile(np.arange(4), (8, 1)))
    np.testing.assert_array_equal(ranked.first_correct, np.arange(8) + 1)
    # Of 60 right references the j-th is at rank 10 (j - 1) + label + 1: looked up, as they are many.
    expected = [np.mean([j / (10 * (j - 1) + q + 1) for j in range(1, 61)]) for q in range(8)]
    np.testing.assert_allclose(ranked.average_precision, expected, rtol=1e-6)


def test_embeddings_that_are_not_numbers_rank_last_by_position() -> None:
    rng = np.random.default_rng(4)
    queries = rng.standard_normal((6, 16), np.float32)
    references = rng.standard_normal((40, 16), np.float32)
    references[3], references[7] = np.nan, np.inf
    queries[5] = np.nan
    labels = np.arange(40)
    ranked = cosine_knn(queries, references, np.full(6, 7), labels, k=40, block=(4, 9))
    np.testing.assert_array_equal(ranked.top_index[:5, -2:], np.tile([3, 7], (5, 1)))
    np.testing.assert_array_equal(ranked.first_correct, [40] * 5 + [8])
    np.testing.assert_array_equal(ranked.top_index[5], labels)
    assert np.isneginf(ranked.top_score[5]).all()


def test_memory_maps_are_searched_and_identities_without_a_reference_have_rank_0(tmp_path) -> None:
    rng = np.random.default_rng(5)
    references = rng.standard_normal((900, 24), np.float32)
    np.save(tmp_path / "references.npy", references)
    mapped = np.load(tmp_path / "references.npy", mmap_mode="r")
    names = np.array([f"animal {i % 30}" for i in range(900)])
    asked = np.array(["animal 7", "nobody", "animal 29"])
    ranked = cosine_knn(references[:3], mapped, asked, names, k=1, block=(2, 200))
    assert ranked.top_index[:, 0].tolist() == [0, 1, 2]
    assert ranked.first_correct[1] == ranked.average_precision[1] == 0
    expected = brute_force(references[:3], references, asked, names, 1)
    assert ranked.first_correct.tolist() == expected.first_correct.tolist()


@pytest.mark.parametrize("identities", [400, 4], ids=["few right", "many right"])
def test_references_of_the_querys_own_encounter_are_as_if_they_were_not_there(identities: int) -> None:
    rng = np.random.default_rng(6)
    queries = rng.standard_normal((30, 20), np.float32)
    references = rng.standard_normal((800, 20), np.float32)
    ql, gl = rng.integers(0, identities, 30), rng.integers(0, identities, 800)
    met_q, met_g = rng.integers(-1, 3, 30), rng.integers(-1, 3, 800)
    ranked = cosine_knn(queries, references, ql, gl, k=6, encounters=(met_q, met_g), block=(11, 150))
    assert_equal(ranked, brute_force(queries, references, ql, gl, 6))
    other = ranked.other_encounter
    assert other is not None
    for q in range(30):
        left = np.flatnonzero((met_g != met_q[q]) | (met_q[q] < 0))
        expected = brute_force(queries[[q]], references[left], ql[[q]], gl[left], 6)
        assert other.top_index[q].tolist() == left[expected.top_index[0]].tolist()
        assert other.first_correct[q] == expected.first_correct[0]
        assert other.average_precision[q] == pytest.approx(expected.average_precision[0])


def test_fewer_references_than_are_kept_leave_gaps_where_some_are_left_out() -> None:
    vectors = np.eye(4, dtype=np.float32)
    met = np.array([0, 0, 1, 1])
    labels = np.arange(4)
    ranked = cosine_knn(vectors, vectors, labels, labels, k=4, encounters=(met, met), block=(2, 3))
    assert ranked.other_encounter is not None
    assert ranked.other_encounter.top_index[0].tolist() == [2, 3, -1, -1]
    assert ranked.other_encounter.first_correct.tolist() == [0, 0, 0, 0]

"""Queries made of reference photos: never answered by what they must not see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from collection import bench, gallery_of, table

from reid_ray.config.matching import Matching
from reid_ray.methods.embedding import embedding_ready
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.leave_one_out import asked_references, leave_one_out, sample
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Ready
from reid_ray.methods.scorer import EmbeddingScorer


def embedded(gallery: Gallery, folder: Path, vectors: np.ndarray, *, trained: bool = False) -> Ready:
    class Vectors:
        name = "vectors"

    method = Vectors()
    method.trained = trained  # type: ignore[attr-defined]
    scorer = EmbeddingScorer.of(vectors.astype(np.float32))
    return embedding_ready(method, gallery, scorer, bench(folder))  # type: ignore[arg-type]


def test_asked_are_all_or_a_seeded_draw() -> None:
    assert sample(5, most=5, seed=0).tolist() == [0, 1, 2, 3, 4]
    drawn = sample(1000, most=50, seed=3)
    assert len(set(drawn.tolist())) == 50
    assert drawn.tolist() == sorted(drawn.tolist()) == sample(1000, most=50, seed=3).tolist()
    assert drawn.tolist() != sample(1000, most=50, seed=4).tolist()


def test_a_trained_method_is_asked_photos_it_was_not_trained_on() -> None:
    rows = pd.DataFrame(
        {
            "dataset": "a",
            "identity": "x",
            "split": "reference",
            "domain": "seen",
            "validation": np.arange(12) % 5 == 0,
        }
    )
    places, none = np.arange(2, 12), np.zeros(0, np.int64)

    def of(table: pd.DataFrame) -> Gallery:
        return Gallery.of(table, places, none, name="a")

    asked, hidden = asked_references(of(rows), trained=True, most=99, seed=0)
    assert places[asked].tolist() == [5, 10]
    assert hidden is not None
    assert places[hidden].tolist() == [5, 10]  # nor do they answer one another
    asked, hidden = asked_references(of(rows), trained=False, most=99, seed=0)
    assert (asked.tolist(), hidden) == (list(range(10)), None)
    unseen = rows.assign(domain="unseen", validation=False)
    asked, hidden = asked_references(of(unseen), trained=True, most=99, seed=0)
    assert (asked.tolist(), hidden) == (list(range(10)), None)
    none_kept = rows.assign(validation=False)
    assert len(asked_references(of(none_kept), trained=True, most=99, seed=0)[0]) == 0
    assert len(asked_references(of(rows), trained=False, most=3, seed=0)[0]) == 3


def test_photos_of_split_train_count_as_trained_on() -> None:
    """In a disjoint set networks learn from `train`; its photos must not pass as fresh."""
    rows = table()
    rows.loc[:11, "split"] = "train"
    known = Gallery.of(rows, np.arange(30), np.zeros(0, np.int64), name="one").trained
    assert known[:12].tolist() == (~rows["validation"][:12]).tolist()
    assert not known[12:].any()


def test_cosine_queries_agree_with_searching_one_by_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = table(split="reference")
    gallery = gallery_of(rows)
    vectors = rng.standard_normal((30, 4))
    found = leave_one_out(embedded(gallery, tmp_path, vectors), bench(tmp_path), most=99, seed=0)
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    leave_one_out_queries = found.leave_one_out_queries()
    for i in range(30):
        scores = {j: float(units[i] @ units[j]) for j in range(30) if j != i}
        best = max(scores, key=lambda j: scores[j])
        assert leave_one_out_queries.right[i] == (gallery.labels[best] == gallery.labels[i])
        assert leave_one_out_queries.present[i] == pytest.approx(scores[best], abs=1e-6)
        unknown = [s for j, s in scores.items() if gallery.labels[j] != gallery.labels[i]]
        assert leave_one_out_queries.withheld[i] == pytest.approx(max(unknown), abs=1e-6)


def test_neither_the_encounter_nor_the_withheld_animal_answers(tmp_path: Path) -> None:
    # References a a a b, the first two of one encounter; b has no other photo, so it is not asked.
    rows = pd.DataFrame(
        {"identity": [*"aaab"], "encounter": ["7", "7", "", ""], "dataset": "d", "content": [*"1234"]}
    )
    gallery = Gallery.of(rows, np.arange(4), np.zeros(0, np.int64), name="d")
    angles = np.radians([0, 1, 60, 30])
    ready = embedded(gallery, tmp_path, np.stack([np.cos(angles), np.sin(angles)], axis=1))
    found = leave_one_out(ready, bench(tmp_path), most=9, seed=0)
    assert found.asked.tolist() == [0, 1, 2]
    leave_one_out_queries = found.leave_one_out_queries()
    assert leave_one_out_queries.present[0] == pytest.approx(
        np.cos(np.radians(30))
    )  # b, though a's twin is nearer
    assert leave_one_out_queries.right.tolist() == [False, False, False]
    assert found.known.scores[0][0, 0] == pytest.approx(0.5)  # of a only the photo of another encounter
    assert leave_one_out_queries.withheld[0] == pytest.approx(np.cos(np.radians(30)))


@pytest.mark.parametrize("score", ["count", "lnbnn"])
def test_a_withheld_animal_is_as_if_it_had_never_been_a_reference(score: str, tmp_path: Path) -> None:
    rows = table(split="reference")
    config = Matching.parse({"score": score, "thresholds": [0.7], "neighbours": [2]}, where="test")
    here = bench(tmp_path)
    (ready,) = LocalFeatures(config).prepare([gallery_of(rows)], here)
    found = leave_one_out(ready, here, most=99, seed=0)
    for animal in (0, 3):
        mine = np.flatnonzero(found.own == animal)
        kept = rows[rows["identity"] != f"animal-{animal}"].index.to_numpy()
        photos = ready.gallery.photos[found.asked[mine]]
        smaller = Gallery.of(rows, kept, photos, name="one")
        (alone,) = LocalFeatures(config).prepare([smaller], here, learnt={smaller.fingerprint: ready.learnt})
        for rows_, part in alone.animals(here, smaller.queries, encounter=False):
            withheld = found.withheld.best[mine[rows_]]
            others = np.delete(np.arange(5), animal)
            np.testing.assert_allclose(withheld[:, others], part.best, rtol=1e-5)
            assert np.isneginf(withheld[:, animal]).all()


def test_too_few_fresh_photos_are_replaced_by_all_and_that_is_told(tmp_path: Path) -> None:
    gallery = gallery_of(table())  # five validation photos
    ready = embedded(gallery, tmp_path, np.random.default_rng(0).normal(size=(30, 4)), trained=True)
    found = leave_one_out(ready, bench(tmp_path), most=99, seed=0, fewest=6)
    assert found.biased
    assert len(found.asked) == 20
    enough = leave_one_out(ready, bench(tmp_path), most=99, seed=0, fewest=5)
    assert not enough.biased
    assert not gallery.trained[enough.asked].any()
    untrained = replace(gallery, trained=np.zeros(20, bool))
    free = embedded(untrained, tmp_path, np.ones((30, 4)), trained=True)
    assert not leave_one_out(free, bench(tmp_path), most=99, seed=0, fewest=99).biased


def test_an_encounter_is_asked_whole_or_not_at_all(tmp_path: Path) -> None:
    rows = table(split="reference").assign(encounter=lambda t: (np.arange(len(t)) // 2).astype(str))
    ready = embedded(gallery_of(rows), tmp_path, np.random.default_rng(0).normal(size=(30, 4)))
    found = leave_one_out(ready, bench(tmp_path), most=7, seed=0)
    assert len(found.asked) == 6
    assert sorted(found.asked // 2) == sorted(list(set(found.asked // 2)) * 2)

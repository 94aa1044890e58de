"""Re-ranking by k-reciprocal neighbours: the paper's steps one by one, and a choice by references alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from collection import bench, gallery_of, table

from reid_ray.config.models import KReciprocal, Pretrained
from reid_ray.embedding.encoding import Encoding
from reid_ray.evaluation.reciprocal import Reciprocal, reciprocal_distances
from reid_ray.evaluation.stream import unit_rows
from reid_ray.methods.embedding import ANY, Embedding
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.reciprocal import PLAIN, ReciprocalScorer, settings_of, tuned
from reid_ray.methods.scorer import EmbeddingScorer


def by_the_paper(units: np.ndarray, k1: int, k2: int, weight: float) -> np.ndarray:
    """Sets and sums as the paper (section 3) and the authors' code have them, photo by photo."""
    count = len(units)
    plain = np.array([[float(np.sum((a - b) ** 2)) for b in units] for a in units.astype(np.float64)])
    plain = np.array([row / row.max() for row in plain])
    nearest = [sorted(range(count), key=lambda j, i=i: (plain[i, j], j)) for i in range(count)]

    def mutual(i: int, size: int) -> set[int]:
        return {j for j in nearest[i][:size] if i in nearest[j][:size]}

    half = int(np.around(k1 / 2))
    encoded = np.zeros((count, count))
    for i in range(count):
        own = mutual(i, k1 + 1)
        expanded = set(own)
        for j in own:
            theirs = mutual(j, half + 1)
            if len(theirs & own) > 2 / 3 * len(theirs):
                expanded |= theirs
        for j in expanded:
            encoded[i, j] = np.exp(-plain[i, j])
        encoded[i] /= encoded[i].sum()
    averaged = np.array([np.mean([encoded[j] for j in nearest[i][:k2]], axis=0) for i in range(count)])
    found = []
    for j in range(1, count):
        both = sum(min(a, b) for a, b in zip(averaged[0], averaged[j], strict=True))
        either = sum(max(a, b) for a, b in zip(averaged[0], averaged[j], strict=True))
        found.append((1 - both / either) * (1 - weight) + plain[0, j] * weight)
    return np.array(found)


def vectors(seed: int, count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    around = rng.normal(size=(8, 5))[rng.integers(0, 8, count)]
    return np.asarray(unit_rows((around + 0.5 * rng.normal(size=(count, 5))).astype(np.float32))[0])


@pytest.mark.parametrize("k1", [3, 6, 20, 60])
@pytest.mark.parametrize(("k2", "weight"), [(1, 0.3), (6, 0.0), (4, 0.6), (2, 1.0)])
def test_distances_are_those_of_the_paper(k1: int, k2: int, weight: float) -> None:
    for seed in range(3):
        units = vectors(seed)
        settings = [Reciprocal(k1, k2, weight), Reciprocal(5, 2, 0.5)]
        found = reciprocal_distances(units, settings)
        np.testing.assert_allclose(found[0], by_the_paper(units, k1, k2, weight), atol=1e-6)
        np.testing.assert_allclose(found[1], by_the_paper(units, 5, 2, 0.5), atol=1e-6)


def test_a_single_candidate_and_none_have_distances() -> None:
    assert reciprocal_distances(vectors(0, 2), [Reciprocal()]).shape == (1, 1)
    assert np.isfinite(reciprocal_distances(vectors(0, 2), [Reciprocal(1, 1, 0.0)])).all()
    assert reciprocal_distances(vectors(0, 1), [Reciprocal()]).shape == (1, 0)


def crowd() -> tuple[Gallery, EmbeddingScorer]:
    """Vectors in which one photo of another animal is often nearest, and shares no neighbours."""
    gallery = gallery_of(table())
    rng = np.random.default_rng(5)
    units = rng.normal(size=(30, 6)) + 0.7 * rng.normal(size=(5, 6))[gallery.labels]
    return gallery, EmbeddingScorer.of(units.astype(np.float32))


def test_the_list_is_ranked_anew_and_the_others_stay_behind_in_their_order() -> None:
    gallery, near = crowd()
    setting = Reciprocal(4, 2, 0.2)
    found = ReciprocalScorer(near, 7, setting).rank(gallery, gallery.queries, k=20)
    changed = 0
    for q, photo in enumerate(gallery.queries):
        cosines = near.units[:20] @ near.units[photo]
        order = np.argsort(-cosines, kind="stable")
        few = order[:7]
        distances = by_the_paper(near.units[np.r_[photo, few]], 4, 2, 0.2)
        expected = [*few[np.argsort(distances, kind="stable")], *order[7:]]
        assert found["top_index"][q].tolist() == expected
        changed += expected != order.tolist()
    assert changed > 3


def test_the_setting_that_names_most_references_is_chosen_and_queries_have_no_part(tmp_path: Path) -> None:
    gallery, near = crowd()
    config = KReciprocal(k1=(3, 5), k2=(1, 2), weights=(0.1, 0.5, 1.0))
    learnt, _ = tuned(config, near, gallery, bench(tmp_path), trained=False)
    right = []
    for setting in settings_of(config):
        count = 0
        for own in range(20):
            others = np.array([g for g in range(20) if g != own])
            cosines = near.units[others] @ near.units[own]
            others = others[np.argsort(-cosines, kind="stable")]
            distances = by_the_paper(near.units[np.r_[own, others]], *setting)
            count += gallery.labels[others[np.argmin(distances)]] == gallery.labels[own]
        right.append(int(count))
    assert settings_of(config)[0] == PLAIN
    assert len(settings_of(config)) == 9
    assert learnt["reciprocal"] == list(settings_of(config)[int(np.argmax(right))])
    assert learnt["top1"] == max(right) / 20
    assert max(right) > right[0]
    other = EmbeddingScorer(np.concatenate([near.units[:20], near.units[20:][::-1]]))
    assert tuned(config, other, gallery, bench(tmp_path), trained=False)[0] == learnt


def test_a_trained_network_is_judged_by_its_own_order(tmp_path: Path) -> None:
    """Only validation photos may choose, and they must not judge what they chose."""
    gallery, near = crowd()
    known = np.arange(20) % 4 > 0
    gallery = replace(gallery, trained=known)
    _, unvalidated = tuned(KReciprocal(), near, gallery, bench(tmp_path), trained=True)
    assert unvalidated["reciprocal"] == list(PLAIN)


def test_it_is_asked_for_with_a_model_and_prepared_with_it(tmp_path: Path) -> None:
    raw = {"name": "tiny", "model": "test_efficientnet", "weights": "random", "rerank": {"k1": [3, 4]}}
    model = Pretrained.parse(raw, where="test")
    assert model.rerank == KReciprocal(k1=(3, 4))
    assert "rerank" not in model.settings
    encoding = Encoding("test_efficientnet", "random", 64, seed=3)
    method = Embedding("tiny", "k", {ANY: encoding}, rerank=model.rerank)
    (ready,) = method.prepare([gallery_of(table())], bench(tmp_path))
    assert isinstance(ready.scorer, ReciprocalScorer)
    assert ready.params["k_reciprocal"]
    again = method.prepare([ready.gallery], bench(tmp_path), learnt={ready.gallery.fingerprint: ready.learnt})
    assert again[0].learnt == ready.learnt

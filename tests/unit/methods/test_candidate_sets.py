"""Who may answer by side, location and period is that of a plain loop, for vectors too."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from collection import bench, gallery_of, table

from reid_ray.config.candidate_sets import CandidateSets, Choice
from reid_ray.config.models import Pretrained
from reid_ray.methods.embedding import Embedding
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.scorer import EmbeddingScorer

PLACES = np.resize(["North", "south", "", "north", "East ", "south", "east"], 30)
DAYS = np.resize(["2021-01-01", "2021-04-01 10:00", "2021", "", "2021-10-01", "2022-03-30"], 30)
SIDES = np.resize(["left", "right", "right", ""], 30)


def everywhere() -> Gallery:
    return gallery_of(table(location=PLACES, date=np.roll(DAYS, 7), orientation=SIDES))


def differ(gallery: Gallery, a: int, g: int, what: str) -> bool | None:
    """Whether two photos differ, from the words of the table; None where it is not known."""
    row, other = int(gallery.photos[a]), int(gallery.photos[g])
    if what == "period":
        dates = np.roll(DAYS, 7)
        if "" in (dates[row][4:], dates[other][4:]):
            return None
        one, two = (np.datetime64(dates[at][:10]) for at in (row, other))
        return bool(abs((one - two).astype(int)) > 100)
    words = SIDES if what == "viewpoint" else [place.strip().lower() for place in PLACES]
    return None if "" in (words[row], words[other]) else bool(words[row] != words[other])


def plain_loop(gallery: Gallery, rules: dict[str, Choice]) -> np.ndarray:
    out = np.zeros((len(gallery.photos), gallery.references), bool)
    for a, g in np.ndindex(*out.shape):
        out[a, g] = a == g
    for wanted in ("only", "prefer"):
        for what in [name for name in ("viewpoint", "location", "period") if rules[name] == wanted]:
            before = out.copy()
            for a, g in np.ndindex(*out.shape):
                own = [m for m in range(gallery.references) if gallery.labels[m] == gallery.labels[g]]
                better = [m for m in own if not before[a, m] and differ(gallery, a, m, what) is False]
                if differ(gallery, a, g, what) and (wanted == "only" or better):
                    out[a, g] = True
    return out


CHOICES = [
    dict(zip(("viewpoint", "location", "period"), rules, strict=True))
    for rules in product(("off", "prefer", "only"), repeat=3)
]


@pytest.mark.parametrize("rules", CHOICES, ids=lambda rules: "-".join(rules.values()))
def test_who_may_answer_is_that_of_a_plain_loop(rules: dict[str, Choice]) -> None:
    gallery = everywhere().under(CandidateSets(**rules, period_days=100))  # type: ignore[arg-type]
    expected = plain_loop(gallery, rules)
    np.testing.assert_array_equal(gallery.excluded(np.arange(30), encounter=False), expected)
    assert gallery.pairs(gallery.queries) == (~expected[gallery.queries]).sum()


def test_parts_hold_every_photo_once_and_are_the_photos_of_one_place() -> None:
    gallery = everywhere().under(CandidateSets(location="only"))
    parts = list(gallery.alike(gallery.queries))
    assert sorted(np.concatenate(parts)) == list(range(len(gallery.queries)))
    places = [{PLACES[p].strip().lower() for p in gallery.photos[gallery.queries[part]]} for part in parts]
    assert all(len(one) == 1 for one in places)
    assert len(places) == len({one for p in places for one in p})


@pytest.mark.parametrize("rules", CHOICES[1::5], ids=lambda rules: "-".join(rules.values()))
def test_nearest_vectors_are_those_of_brute_force_among_the_candidates(
    rules: dict[str, Choice], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    monkeypatch.setattr(Embedding, "scorer", lambda *_: EmbeddingScorer.of(vectors))
    sets = CandidateSets(**rules, period_days=100)  # type: ignore[arg-type]
    ready = Embedding("m", "k", {}, sets=sets).prepare([everywhere()], bench(tmp_path))[0]
    found, _ = ready.rank(bench(tmp_path), ready.gallery.queries, k=4)
    units = vectors.astype(float) / np.linalg.norm(vectors.astype(float), axis=1, keepdims=True)
    out = plain_loop(ready.gallery, rules)
    for row, query in enumerate(ready.gallery.queries):
        allowed = np.flatnonzero(~out[query])
        ranked = allowed[np.argsort(-(units[allowed] @ units[query]))]
        kept = min(4, len(ranked))
        assert found.top_index[row, :kept].tolist() == ranked[:kept].tolist()
        assert (found.top_index[row, kept:] == -1).all()
        right = np.flatnonzero(ready.gallery.labels[ranked] == ready.gallery.labels[query])
        assert found.first_correct[row] == (right[0] + 1 if len(right) else 0)


def test_what_is_left_out_is_told_without_naming_a_place() -> None:
    gallery = everywhere().under(CandidateSets(location="only"))
    found = gallery.params()
    unknown = sum(place == "" for place in PLACES)
    assert found["photos_without_location"] == unknown
    assert f"{unknown} of 30 photos have no location and are matched with all" in gallery.told()
    assert not any(word in (gallery.told() + str(found)).lower() for word in ("north", "south", "east"))
    assert everywhere().told() == ""
    assert everywhere().params() == {}


def test_a_photo_without_candidates_is_counted() -> None:
    places = np.array(["here"] * 30, object)
    places[1] = "nowhere else"  # a query
    gallery = gallery_of(table(location=places)).under(CandidateSets(location="only"))
    assert gallery.params()["queries_without_candidates"] == 1
    assert "1 of 10 photos have none left" in gallery.told()


def test_rules_do_not_change_what_a_model_computes() -> None:
    plain = Pretrained.parse({"name": "a", "model": "resnet18"}, where="test")
    placed = Pretrained.parse({"name": "a", "model": "resnet18", "location": "only"}, where="test")
    assert placed.settings == plain.settings
    assert placed.rules == {"location": "only"}


def test_a_fusion_has_each_rule_of_the_first_part_that_has_it() -> None:
    first = CandidateSets(viewpoint="prefer")
    second = CandidateSets(viewpoint="only", period="only", period_days=9)
    expected = CandidateSets(viewpoint="prefer", period="only", period_days=9)
    assert CandidateSets.joined([CandidateSets(), first, second]) == expected

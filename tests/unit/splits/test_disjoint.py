"""Open-set and disjoint-set splits: by hand, and whatever the table is."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_rows import rows_of

from reid_ray.config.datasets import Split
from reid_ray.errors import ConfigError, DatasetError
from reid_ray.splits.assign import assign
from reid_ray.splits.closed_set import closed_set, lcg
from reid_ray.splits.learnable import learnable

animals = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=80).filter(
    lambda names: len(set(names)) > 1
)
seeds = st.integers(0, 1000)
shares = st.sampled_from([0.1, 0.2, 0.5, 0.9])


def unknown_individuals(rows: pd.DataFrame) -> set[str]:
    """Animals that are asked for without a reference."""
    asked, known = (set(rows.loc[rows["split"] == s, "identity"]) for s in ("query", "reference"))
    return asked - known


def test_the_animals_with_the_smallest_draws_are_new_and_have_all_their_photos_in_the_queries():
    rows = rows_of("aaaaabbbbbcccccddddd")
    draws = dict(zip("abcd", lcg(7, 4), strict=True))
    first, second = sorted("abcd", key=draws.get)[:2]
    split = Split(kind="open_set", seed=7, unknown_identities=2)
    found = assign(rows, split).rows
    assert unknown_individuals(found) == {first, second}
    for identity, part in found.groupby("identity"):
        expected = {"query": 5} if identity in (first, second) else {"reference": 4, "query": 1}
        assert part["split"].value_counts().to_dict() == expected


def test_the_known_animals_are_split_as_if_the_new_ones_were_not_there():
    rows = rows_of("aaaaabbbbbcccccddddd")
    found = assign(rows, Split(kind="open_set", unknown_share=0.25)).rows
    known = ~rows["identity"].isin(unknown_individuals(found))
    alone = closed_set(rows[known], seed=666, reference_share=0.8)
    assert list(found.loc[known, "split"]) == list(alone)


@settings(max_examples=40)
@given(animals, seeds, shares)
def test_the_share_of_photos_of_new_animals_is_as_near_as_whole_animals_allow(names, seed, share):
    rows = assign(
        rows_of(names), Split(kind="open_set", seed=seed, unknown_share=share, reference_share=0.5)
    ).rows
    new = unknown_individuals(rows)
    assert 0 < len(new) < len(set(names))
    part = rows["identity"].isin(new)
    assert set(rows.loc[part, "split"]) == {"query"}
    # One animal more or less would be off by at most its own photos.
    assert abs(part.mean() - share) <= rows["identity"].value_counts().max() / len(rows) or (
        len(new) in (1, len(set(names)) - 1)
    )


@settings(max_examples=40)
@given(animals, seeds, st.integers(1, 7))
def test_as_many_animals_are_new_as_asked_for(names, seed, count):
    split = Split(kind="open_set", seed=seed, unknown_identities=count)
    total = len(set(names))
    if count >= total:
        with pytest.raises(DatasetError, match=f"there are {total} in all"):
            assign(rows_of(names), split)
    else:
        assert len(unknown_individuals(assign(rows_of(names), split).rows)) == count


@settings(max_examples=40)
@given(animals, seeds, shares)
def test_no_animal_of_a_disjoint_set_is_both_learnt_from_and_asked_for(names, seed, share):
    rows = assign(rows_of(names), Split(kind="disjoint_set", seed=seed, test_share=share)).rows
    learnt = set(rows.loc[learnable(rows), "identity"])
    tested = set(rows.loc[rows["split"].isin(["reference", "query"]), "identity"])
    assert learnt
    assert tested
    assert not learnt & tested
    assert learnt | tested == set(names)
    assert not rows.loc[~learnable(rows), "validation"].any()
    assert not unknown_individuals(rows)


@settings(max_examples=40)
@given(animals, seeds, st.randoms())
def test_the_order_of_the_rows_does_not_matter(names, seed, random):
    rows = rows_of(names)
    order = list(range(len(rows)))
    random.shuffle(order)
    for kind in ("open_set", "disjoint_set"):
        split = Split(kind=kind, seed=seed)
        one, other = assign(rows, split).rows, assign(rows.iloc[order], split).rows
        pd.testing.assert_frame_equal(one.iloc[order], other)


def test_other_seeds_draw_other_animals():
    rows = rows_of("aaabbbcccdddeeefff")
    drawn = {
        frozenset(
            unknown_individuals(assign(rows, Split(kind="open_set", seed=seed, unknown_identities=2)).rows)
        )
        for seed in range(30)
    }
    assert len(drawn) > 5


def test_each_dataset_draws_its_own_animals():
    rows = pd.concat([rows_of("aaabbb"), rows_of("aaabbb", dataset="e")], ignore_index=True)
    found = assign(rows, Split(kind="open_set", unknown_identities=1)).rows
    assert [len(unknown_individuals(part)) for _, part in found.groupby("dataset")] == [1, 1]


def test_photos_of_unknown_animals_are_asked_for_only_on_request():
    rows = rows_of([*"aaabbb", "unknown"])
    split = {"kind": "open_set", "unknown_identities": 1}
    assert assign(rows, Split(**split)).rows["split"].iloc[-1] == "none"
    asked = assign(rows, Split(**split, ask_unknown=True)).rows
    assert asked["split"].iloc[-1] == "query"


def test_a_given_split_keeps_queries_of_new_animals_only_on_request():
    rows = rows_of(["a", "a", "b", "unknown"]).assign(split_given=["train", "test", "test", "test"])
    closed = assign(rows, Split(kind="given"))
    assert list(closed.rows["split"]) == ["reference", "query", "none", "none"]
    opened = assign(rows, Split(kind="given", unknown_individuals=True))
    assert list(opened.rows["split"]) == ["reference", "query", "query", "none"]
    assert opened.findings == []
    split = Split(kind="given", unknown_individuals=True, ask_unknown=True)
    assert list(assign(rows, split).rows["split"]) == ["reference", "query", "query", "query"]


@pytest.mark.parametrize("kind", ["open_set", "disjoint_set"])
def test_one_animal_cannot_be_divided(kind):
    with pytest.raises(DatasetError, match="d: 1 animals cannot be divided"):
        assign(rows_of("aaa"), Split(kind=kind))


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"unknown_share": 0.2}, "unknown_share is a setting of kind open_set, not of closed_set"),
        ({"kind": "open_set", "unknown_share": 0.2, "unknown_identities": 3}, "not both"),
        ({"kind": "time_cutoff"}, "needs cutoff"),
        ({"kind": "time_cutoff", "cutoff": 2020, "until": "2019-05-01"}, "until is 2019-05-01"),
        ({"kind": "time_cutoff", "cutoff": "2020-02-30"}, "day is out of range"),
        ({"unknown_individuals": True}, "kind closed_set has none"),
        ({"kind": "given", "ask_unknown": True}, "ask_unknown needs a split"),
        ({"on_leak": "ignore"}, "on_leak"),
        ({"on_leak": {"same_dog": "drop"}}, "unknown key"),
    ],
)
def test_settings_that_do_not_fit_are_refused(chosen, told):
    with pytest.raises(ConfigError, match=told):
        Split.parse(chosen, where="test")


def test_one_word_sets_what_is_done_with_every_kind_of_leak():
    assert set(Split(on_leak="refuse").leak_actions.model_dump().values()) == {"refuse"}
    split = Split.parse({"on_leak": {"near_duplicate": "drop"}}, where="test")
    assert split.leak_actions.near_duplicate == "drop"
    assert split.leak_actions.same_encounter == "report"

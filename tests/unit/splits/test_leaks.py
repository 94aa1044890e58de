"""What is done with a leak, and what counts as one encounter."""

import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Split
from reid_ray.errors import SplitLeakError
from reid_ray.splits.leaks import encounters_of, settle_leaks


def rows_of(parts: str, identities: str, **columns: list[str]) -> pd.DataFrame:
    """`r`eference, `q`uery, `t`rain or `n`one per letter."""
    words = {"r": "reference", "q": "query", "t": "train", "n": "none"}
    table = pd.DataFrame(
        {
            "key": [f"d/{i}" for i in range(len(parts))],
            "dataset": "d",
            "domain": "seen",
            "identity": list(identities),
            "split": [words[part] for part in parts],
            "validation": False,
        }
    )
    return table.assign(**columns)


def kinds(rows: pd.DataFrame, split: Split, near: list[tuple[int, int]] | None = None) -> list[str]:
    return [finding.kind for finding in settle_leaks(rows, split, near or [])[1]]


def test_an_encounter_is_what_the_table_says_or_else_an_animals_day():
    rows = rows_of("rqrqr", "aabba", encounter=["e", "e", "", "", ""], date=["", "", *["2021-01-01"] * 3])
    numbers = encounters_of(rows)
    assert numbers[0] == numbers[1]
    assert numbers[2] == numbers[3]
    assert len({*numbers}) == 3
    assert encounters_of(rows_of("rq", "aa")).tolist() == [-1, -1]


def test_an_encounter_on_both_sides_is_reported_with_its_reference():
    rows = rows_of("rrqq", "aaaa", encounter=["e", "f", "f", "g"])
    after, [finding] = settle_leaks(rows, Split())
    assert (finding.kind, finding.keys) == ("same_encounter", ("d/2",))
    assert finding.pairs == (("d/2", "d/1"),)
    assert list(after["split"]) == list(rows["split"])
    dropped, _ = settle_leaks(rows, Split.parse({"on_leak": {"same_encounter": "drop"}}, where="t"))
    assert list(dropped["split"]) == ["reference", "reference", "none", "query"]


def test_equal_encounters_of_two_datasets_are_two():
    rows = rows_of("rq", "aa", encounter=["e", "e"])
    rows["dataset"] = ["d", "e"]
    assert "same_encounter" not in kinds(rows, Split())


@pytest.mark.parametrize("kind", ["near_duplicate", "same_encounter", "same_file", "no_reference"])
def test_each_kind_can_be_refused_by_itself(kind: str):
    rows = rows_of("rrqqq", "aaaab", encounter=["", "e", "e", "", ""], content=list("xyzxw"))
    split = Split.parse({"on_leak": {kind: "refuse"}}, where="test")
    with pytest.raises(SplitLeakError, match=r"d: 1 queries .*\(refused\)"):
        settle_leaks(rows, split, [(2, 0)])


def test_the_same_file_is_told_once_and_not_as_a_near_duplicate():
    rows = rows_of("rq", "aa", content=["x", "x"])
    assert kinds(rows, Split(), [(1, 0)]) == ["query_is_reference"]
    assert kinds(rows.assign(content=["x", "y"]), Split(), [(1, 0)]) == ["near_duplicate"]
    assert kinds(rows.drop(columns="content"), Split(), [(1, 0)]) == ["near_duplicate"]


def test_a_query_that_was_trained_on_is_a_leak_though_it_is_no_reference():
    rows = rows_of("trq", "baa", content=["x", "y", "x"])
    after, [finding] = settle_leaks(rows, Split(kind="disjoint_set"))
    assert finding.pairs == (("d/2", "d/0"),)
    assert after["split"].iloc[2] == "none"


def test_queries_of_new_animals_are_no_leak_where_they_are_asked_for():
    rows = rows_of("rqq", "aab")
    assert kinds(rows, Split(kind="open_set")) == []
    assert kinds(rows, Split()) == ["query_without_reference"]


def test_a_finding_shows_a_few_pairs_and_counts_all():
    rows = rows_of("r" + "q" * 9, "a" * 10, content=["x"] * 10)
    [finding] = settle_leaks(rows, Split())[1]
    record = finding.record()
    assert record["keys"] == 9
    assert record["pairs"] == [[f"d/{i}", "d/0"] for i in range(1, 6)]


def test_the_other_side_of_a_pair_is_the_first_of_several():
    rows = rows_of("rrq", "aaa", content=["x", "x", "x"])
    [finding] = settle_leaks(rows, Split())[1]
    assert finding.pairs == (("d/2", "d/0"),)
    assert np.array_equal(rows["split"], ["reference", "reference", "query"])  # as it was given


def test_one_picture_under_two_names_is_told():
    rows = rows_of("rqq", "aab")
    [finding, _] = settle_leaks(rows, Split(), [(1, 0), (2, 0)])[1]
    assert "2 queries are nearly the same picture as a reference photo, 1 of them" in finding.text

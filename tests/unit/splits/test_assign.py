"""Domain, split, validation and leaks, together and one by one."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from split_rows import rows_of

from reid_ray.config.datasets import Split
from reid_ray.errors import DatasetError, SplitLeakError
from reid_ray.splits.assign import assign
from reid_ray.splits.closed_set import closed_set
from reid_ray.splits.leaks import find_leaks, settle_leaks
from reid_ray.splits.manifest import write_manifest

names = st.lists(st.sampled_from("abcde"), min_size=1, max_size=60)
GIVEN = Split(kind="given")


def two_datasets() -> pd.DataFrame:
    first = rows_of([*"aaaaaaaaaabbbbbc", "unknown"])
    return pd.concat([first, rows_of("xxxxxxxxyyyyyy", dataset="e", group="cats")]).reset_index(drop=True)


def given_rows(words: str, identities: str | None = None) -> pd.DataFrame:
    parts = words.split(" ")
    return rows_of(identities or "a" * len(parts)).assign(split_given=parts)


def test_each_dataset_is_split_by_itself() -> None:
    rows = assign(two_datasets(), Split(), ["cats"]).rows
    for dataset, part in rows.groupby("dataset"):
        alone = closed_set(part, seed=666, reference_share=0.8)
        assert list(part["split"]) == list(alone), dataset
    assert list(rows["key"]) == list(two_datasets()["key"])


def test_groups_named_unseen_are_unseen_and_give_no_validation() -> None:
    rows = assign(two_datasets(), Split(validation_share=0.4), ["cats"]).rows
    assert (rows["domain"].eq("unseen") == rows["group"].eq("cats")).all()
    assert not rows.loc[rows["domain"].eq("unseen"), "validation"].any()
    assert rows.loc[rows["domain"].eq("seen"), "validation"].any()
    assert {"reference", "query"} <= set(rows.loc[rows["domain"].eq("unseen"), "split"])


def test_an_unseen_group_that_no_photo_is_of_is_told() -> None:
    with pytest.raises(DatasetError, match=r"no group of a photo: \['dogs'\]; groups are \['cats'"):
        assign(two_datasets(), Split(), ["cats", "dogs"])


def test_an_unknown_animal_takes_no_part() -> None:
    rows = assign(two_datasets(), Split()).rows
    assert list(rows.loc[rows["identity"] == "unknown", "split"]) == ["none"]


@given(names, st.sampled_from([0.1, 0.2, 0.4]), st.integers(0, 5))
def test_validation_leaves_two_training_photos_of_each_of_its_animals(
    identities: list[str], share: float, seed: int
) -> None:
    rows = assign(rows_of(identities), Split(validation_share=share, seed=seed)).rows
    assert not rows.loc[rows["split"] != "reference", "validation"].any()
    for _, photos in rows[rows["split"] == "reference"].groupby("identity"):
        kept_out = photos["validation"].sum()
        if len(photos) < 3:
            assert kept_out == 0
        else:
            assert 1 <= kept_out <= len(photos) - 2
            assert abs(kept_out - share * len(photos)) <= 1


@given(names, st.randoms())
def test_the_order_of_the_rows_does_not_matter(identities: list[str], random: object) -> None:
    rows = rows_of(identities)
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = assign(rows, Split()).rows, assign(rows.iloc[order], Split()).rows
    pd.testing.assert_frame_equal(one.iloc[order], other)


def test_validation_of_one_animal_does_not_depend_on_others() -> None:
    marked = []
    for identities in ("aaaaaaaaaa", "aaaaaaaaaabbbbbbb"):
        rows = rows_of(identities).assign(split_given="train")
        rows = assign(rows, Split(kind="given", validation_share=0.3)).rows
        marked.append(list(rows["validation"][:10]))
    assert marked[0] == marked[1]
    assert sum(marked[0]) == 3


def test_no_validation_is_drawn_where_none_is_asked_for() -> None:
    assert not assign(two_datasets(), Split(validation_share=0)).rows["validation"].any()


def test_a_given_split_is_taken_in_all_the_fields_words() -> None:
    rows = given_rows("train Reference gallery DATABASE test query val  none", "aaaaaaaaa")
    rows = assign(rows, GIVEN).rows
    assert list(rows["split"]) == [*["reference"] * 4, "query", "query", "reference", "none", "none"]
    assert list(np.flatnonzero(rows["validation"])) == [6]


def test_validation_is_drawn_where_the_table_marks_none() -> None:
    rows = assign(given_rows("train train train train train test"), GIVEN).rows
    assert rows["validation"].sum() == 1


def test_unknown_words_in_a_given_split_are_listed() -> None:
    with pytest.raises(DatasetError, match=r"d: the split column says \['left', 'right'\]"):
        assign(given_rows("train left right"), GIVEN)


@pytest.mark.parametrize("rows", [rows_of("aab"), given_rows("  ")])
def test_a_given_split_that_is_not_there_is_told(rows: pd.DataFrame) -> None:
    with pytest.raises(DatasetError, match="d: no split in its table"):
        assign(rows, GIVEN)


def test_a_collection_without_any_named_animal_is_told() -> None:
    with pytest.raises(DatasetError, match="d: no photo can be a reference"):
        assign(rows_of(["unknown"] * 4), Split())


def test_a_collection_of_single_photos_has_references_alone() -> None:
    rows, findings = assign(rows_of("abcd"), Split())
    assert set(rows["split"]) == {"reference"}
    assert findings == []


def test_a_query_without_a_reference_leaves_the_split() -> None:
    # b has a reference, but in another dataset, where it is another animal.
    first = given_rows("train test test", "aab")
    other = rows_of("b", dataset="e").assign(split_given="train")
    rows, findings = assign(pd.concat([first, other], ignore_index=True), GIVEN)
    assert list(rows["split"]) == ["reference", "query", "none", "reference"]
    assert [(finding.kind, finding.keys) for finding in findings] == [("query_without_reference", ("d/002",))]


def test_the_same_file_on_both_sides_leaves_the_queries() -> None:
    rows = given_rows("train train train test test test", "aaaaaa").assign(
        content=["p", "q", "", "q", "s", ""]
    )
    rows, findings = assign(rows, Split(kind="given", validation_share=0))
    assert list(rows["split"]) == [*["reference"] * 3, "none", "query", "query"]
    assert [(finding.kind, finding.keys) for finding in findings] == [("query_is_reference", ("d/003",))]
    assert "d: 1 queries are the same file" in findings[0].text


def test_a_training_photo_of_another_dataset_is_no_query() -> None:
    rows = two_datasets()
    rows["content"] = rows["key"]
    clean, none = assign(rows, Split(), ["cats"])
    assert none == []
    query = clean.index[(clean["dataset"] == "e") & (clean["split"] == "query")][0]
    reference = clean.index[(clean["dataset"] == "d") & (clean["split"] == "reference")][0]
    rows.loc[query, "content"] = rows.loc[reference, "content"]
    leaking, findings = assign(rows, Split(), ["cats"])
    assert leaking.loc[query, "split"] == "none"
    assert [finding.keys for finding in findings] == [(rows.loc[query, "key"],)]


def test_a_validation_photo_that_is_trained_on_goes_back_to_training() -> None:
    rows = given_rows("train train train val val test").assign(content=list("abcadf"))
    rows, findings = assign(rows, GIVEN)
    assert [finding.kind for finding in findings] == ["validation_is_training"]
    assert list(np.flatnonzero(rows["validation"])) == [4]


def test_leaks_are_refused_with_their_number_or_found_gone_once_dropped() -> None:
    rows = given_rows("train test", "aa").assign(
        content="p", split=["reference", "query"], validation=False, domain="seen"
    )
    with pytest.raises(SplitLeakError, match="d: 1 queries are the same file"):
        settle_leaks(rows, Split(on_leak="refuse"))
    clean, found = settle_leaks(rows, Split())
    assert len(found) == 1
    assert find_leaks(clean, Split()) == []
    settle_leaks(clean, Split(on_leak="refuse"))


def test_a_saved_split_is_that_of_the_rows_in_any_order(tmp_path: Path) -> None:
    rows = assign(two_datasets(), Split(), ["cats"]).rows
    rows.loc[3, "key"] = 'd/odd, "quoted"\nname ü'
    sha256 = write_manifest(tmp_path, rows, Split(), ("cats",))
    assert sha256 == hashlib.sha256((tmp_path / "split.csv").read_bytes()).hexdigest()
    saved = pd.read_csv(tmp_path / "split.csv").set_index("key")
    now = rows.set_index("key")
    pd.testing.assert_frame_equal(saved, now.loc[saved.index, list(saved)], check_dtype=False)
    assert len(saved) == len(rows)
    told = json.loads((tmp_path / "split.json").read_text())
    assert told["sha256"] == sha256
    assert told["split"]["seed"] == 666
    assert told["rows"] == rows["split"].value_counts().to_dict()
    assert write_manifest(tmp_path / "again", rows.sample(frac=1), Split(), ("cats",)) == sha256

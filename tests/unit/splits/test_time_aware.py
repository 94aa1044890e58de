"""Splits by time: by hand, and whatever the dates are."""

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_rows import rows_of

from reid_ray.config.datasets import Split
from reid_ray.errors import DatasetError
from reid_ray.splits.assign import assign
from reid_ray.splits.time_aware import days_of

photos = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.one_of(st.just(""), st.dates(datetime.date(2020, 1, 1), datetime.date(2022, 12, 31))),
    ),
    min_size=1,
    max_size=60,
).filter(lambda found: any(day for _, day in found))


def dated(pairs: list[tuple[str, object]]) -> pd.DataFrame:
    return rows_of([name for name, _ in pairs]).assign(date=[str(day) for _, day in pairs])


def splits(pairs: list[tuple[str, object]], **settings: object) -> list[str]:
    return list(assign(dated(pairs), Split(**settings)).rows["split"])


def test_days_are_read_in_the_fields_spellings_and_never_guessed():
    texts = ["2021-03-01", "2021:03:01 10:20:30", "2021/03/01", "20210301", "2021-03-01T23:59:59Z"]
    texts += ["01/03/2021", "March 2021", "2021-13-01", "2021", ""]
    found = days_of(pd.DataFrame({"date": texts}))
    assert (found[:5] == np.datetime64("2021-03-01")).all()
    assert np.isnat(found[5:]).all()


def test_the_first_days_of_each_animal_are_reference():
    # Four days of a (two photos on the second), share 0.5: days 1 and 2; b has one day only.
    pairs = [
        ("a", "2021-05-04"),
        ("a", "2021-05-02"),
        ("a", "2021-05-01"),
        ("a", "2021-05-02"),
        ("a", "2021-05-03"),
        ("b", "2020-01-01"),
        ("b", "2020-01-01"),
        ("c", ""),
        ("a", "soon"),
    ]
    found = splits(pairs, kind="time_proportion", reference_share=0.5)
    assert found == ["query", *["reference"] * 3, "query", *["reference"] * 2, "none", "none"]


def test_photos_without_a_day_are_told():
    pairs = [("a", "2021-05-04"), ("a", ""), ("a", "2021-06-04"), ("unknown", "")]
    findings = assign(dated(pairs), Split(kind="time_proportion")).findings
    assert [(f.kind, f.keys) for f in findings] == [("without_day", ("d/001",))]


@settings(max_examples=40)
@given(photos, st.sampled_from([0.1, 0.5, 0.8]))
def test_every_query_is_later_than_all_references_of_its_animal(pairs, share):
    rows = assign(dated(pairs), Split(kind="time_proportion", reference_share=share)).rows
    rows["day"] = days_of(rows)
    for _, part in rows[rows["split"] != "none"].groupby("identity"):
        reference = part.loc[part["split"] == "reference", "day"]
        query = part.loc[part["split"] == "query", "day"]
        assert len(reference) > 0
        assert not (query.min() <= reference.max())
        days = part["day"].nunique()
        if days > 1:
            assert 0 < reference.nunique() < days
            assert abs(reference.nunique() - share * days) <= 1
        else:
            assert query.empty


def test_the_cutoff_divides_everything_and_first_sightings_after_it_are_new_animals():
    pairs = [
        ("a", "2019-12-31"),
        ("a", "2020-01-01"),
        ("b", "2020-06-01"),
        ("a", "2021-01-01"),
        ("unknown", "2020-03-01"),
        ("unknown", "2019-03-01"),
        ("a", ""),
    ]
    expected = ["reference", "query", "query", "query", "none", "none", "none"]
    assert splits(pairs, kind="time_cutoff", cutoff=2020) == expected
    # wildlife-datasets' default asks for the cutoff year alone.
    expected = ["reference", "query", "query", "none", "none", "none", "none"]
    assert splits(pairs, kind="time_cutoff", cutoff=2020, until=2021) == expected
    expected = ["reference", "query", "none", "query", "none", "none", "none"]
    assert splits(pairs, kind="time_cutoff", cutoff=2020, unknown_individuals=False) == expected
    expected = ["reference", "query", "query", "query", "query", "none", "none"]
    assert splits(pairs, kind="time_cutoff", cutoff=2020, ask_unknown=True) == expected


@settings(max_examples=40)
@given(photos, st.dates(datetime.date(2020, 1, 1), datetime.date(2022, 12, 31)))
def test_every_query_is_later_than_all_references_at_all(pairs, cutoff):
    split = Split(kind="time_cutoff", cutoff=cutoff.isoformat())
    days = [day for _, day in pairs if day]
    if min(days) >= cutoff or max(days) < cutoff:
        with pytest.raises(DatasetError, match="the cutoff"):
            assign(dated(pairs), split)
        return
    rows = assign(dated(pairs), split).rows
    day = pd.Series(days_of(rows))
    assert day[rows["split"] == "query"].min() >= pd.Timestamp(cutoff)
    assert day[rows["split"] == "reference"].max() < pd.Timestamp(cutoff)
    assert (rows["split"] != "none").sum() == len(days)


@pytest.mark.parametrize("chosen", [{"kind": "time_proportion"}, {"kind": "time_cutoff", "cutoff": 2020}])
def test_a_table_without_days_is_told_what_was_found(chosen):
    with pytest.raises(DatasetError, match=r"d: no photo of a named animal has a day.*no column"):
        assign(rows_of("aab"), Split(**chosen))
    with pytest.raises(DatasetError, match=r"found \['1.3.2021'\]"):
        assign(rows_of("aab").assign(date="1.3.2021"), Split(**chosen))


def test_a_cutoff_outside_the_days_says_which_there_are():
    pairs = [("a", "2019-12-31"), ("a", "2020-01-05")]
    with pytest.raises(DatasetError, match=r"on or after the cutoff 2021-01-01; .*from 2019-12-31"):
        splits(pairs, kind="time_cutoff", cutoff=2021)
    with pytest.raises(DatasetError, match="before the cutoff 2019-01-01"):
        splits(pairs, kind="time_cutoff", cutoff=2019)

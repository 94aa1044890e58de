"""Named photos become the tables that population models read; formats as in the packages' documentation."""

import pandas as pd
import pytest
from some_answers import answers

from reid_ray.reporting.answers import captured, wildbook_table
from reid_ray.reporting.captures import capture_tables, moment

SEEN = pd.DataFrame(
    [
        ("leo", "C1/a/1.jpg", "2021-03-01 10:20:30", "C_01"),
        ("leo", "C1/a/2.jpg", "2021-03-01 10:20:35", "C_01"),
        ("leo", "C2/3.jpg", "2021:03:03 05:00", "C_02"),
        ("mia x", "4.jpg", "2021-03-02", ""),
        ("mia x", "5.jpg", "2021", "C_02"),
    ],
    columns=["identity", "path", "date", "location"],
).assign(species="Lynx lynx")


def test_camtrapr_gets_a_record_table() -> None:
    table = capture_tables(SEEN)["records.csv"]
    assert list(table)[:4] == ["Station", "Species", "Individual", "DateTimeOriginal"]
    assert len(table) == 4  # of the fifth no day is known
    first = table[table["FileName"].eq("1.jpg")].iloc[0]
    assert first.tolist() == [
        *("C_01", "Lynx lynx", "leo", "2021-03-01 10:20:30", "2021-03-01", "10:20:30", "C1/a", "1.jpg")
    ]


def test_secr_gets_one_line_per_animal_occasion_and_detector() -> None:
    table = capture_tables(SEEN)["captures.csv"]
    assert list(table) == ["#Session", "ID", "Occasion", "Detector"]
    assert table.to_numpy().tolist() == [["1", "leo", 1, "C-01"], ["1", "leo", 3, "C-02"]]


def test_the_history_has_a_column_per_occasion_seen_or_not() -> None:
    table = capture_tables(SEEN)["history.csv"]
    assert list(table) == ["Individual", "2021-03-01", "2021-03-02", "2021-03-03"]
    assert table.to_numpy().tolist() == [["leo", 1, 0, 1], ["mia x", 0, 1, 0]]


def test_years_of_photos_have_longer_occasions() -> None:
    long = pd.DataFrame({"identity": ["a", "a"], "date": ["2019-01-01", "2021-01-05"]})
    table = capture_tables(long)["history.csv"]
    # 736 days are 106 weeks.
    assert table.shape == (1, 1 + 106)
    assert table.iloc[0, 1:].sum() == 2


def test_without_days_there_is_nothing_to_write() -> None:
    assert capture_tables(SEEN.assign(date="spring")) == {}
    assert capture_tables(SEEN[:0]) == {}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("2021-03-13T10:22:05Z", ("2021", "03", "13", "10", "22", "05")),
        ("2021:03:13", ("2021", "03", "13", "", "", "")),
        ("2021-03", ("2021", "03", "", "", "", "")),
        ("13.3.21", ("",) * 6),
    ],
)
def test_the_parts_of_a_date(text: str, parts: tuple[str, ...]) -> None:
    assert moment(text) == parts


def test_wildbook_gets_species_time_site_and_side() -> None:
    told = answers()
    rows = told.rows.assign(date="2024-03-09 05:07", location="pond", orientation="left")
    sheet = wildbook_table(
        type(told)(told.name, rows, told.quarantine, told.answers, told.learnt, told.notes)
    )
    first = sheet.iloc[0]
    assert first["Encounter.individualID"] == "leo"
    assert first[["Encounter.genus", "Encounter.specificEpithet"]].tolist() == ["Lynx", "lynx"]
    when = [f"Encounter.{part}" for part in ("year", "month", "day", "hour", "minutes")]
    assert first[when].tolist() == ["2024", "03", "09", "05", "07"]
    assert first["Encounter.verbatimLocality"] == "pond"


def test_uncertain_answers_are_no_captures() -> None:
    assert captured(answers())["identity"].tolist() == ["leo"]

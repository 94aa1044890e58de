"""Answers become tables that other programs read, and pages on which people check them."""

import html.parser
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from some_answers import HOSTILE, answers, burst, cards, rows

from reid_ray.reporting.answers import Answer, Answers, Candidate, Copy, answers_of, sections, write_answers
from reid_ray.reporting.review import PER_PAGE, write_review


def test_tables_say_who_is_in_each_photo_and_who_else_it_may_be(tmp_path: Path) -> None:
    write_answers(answers(), tmp_path)
    table = pd.read_csv(tmp_path / "answers.csv", dtype=str, keep_default_na=False)
    assert table["answer"].tolist() == ["leo", "unknown 1"]
    assert table["probability"].tolist() == ["0.95", "0.7"]
    assert table["truth"].tolist() == ["leo", ""]
    listed = pd.read_csv(tmp_path / "candidates.csv", dtype=str, keep_default_na=False)
    assert listed[["rank", "identity", "reference"]].to_numpy().tolist() == [
        ["1", "leo", "p0.jpg"],
        ["2", "'=mia", "p1.jpg"],
        ["1", "'=mia", "p1.jpg"],
        ["2", "leo", ""],
    ]
    plain = json.loads((tmp_path / "answers.json").read_text())
    assert plain["answers"][0]["candidates"][1]["identity"] == "=mia"
    assert plain["answers"][1]["group"] == 0


def test_wildbook_gets_names_of_certain_answers_alone(tmp_path: Path) -> None:
    write_answers(answers(), tmp_path)
    sheet = pd.read_csv(tmp_path / "wildbook.csv", dtype=str, keep_default_na=False)
    assert sheet["Encounter.individualID"].tolist() == ["leo", ""]
    assert sheet["Encounter.genus"].tolist() == ["Lynx", ""]
    assert sheet["Encounter.year"].tolist() == ["2023", ""]
    assert "Encounter.month" not in sheet  # empty columns make an import fail
    assert sheet["Encounter.researcherComments"][0] == "reid_ray: leo, probability 0.95"


@pytest.mark.parametrize(("probability", "named"), [(0.6, False), (0.899, False), (0.9, True)])
def test_no_export_names_an_animal_that_is_not_certain(
    probability: float, named: bool, tmp_path: Path
) -> None:
    """A likeliest animal below 90 % is an answer to be looked at, and a name in no sheet for others."""
    leo = Candidate("leo", probability, 0)
    told = (Answer(2, "leo", probability, 0.05, (leo,)),)
    dated = rows().assign(date="2024-03-09", location="C1")
    some = replace(answers(), rows=dated, answers=told)
    write_answers(some, tmp_path)
    sheet = pd.read_csv(tmp_path / "wildbook.csv", dtype=str, keep_default_na=False)
    assert sheet["Encounter.individualID"].tolist() == ["leo" if named else ""]
    for name in ("records.csv", "captures.csv", "history.csv"):
        path = tmp_path / name
        assert (path.exists() and "leo" in path.read_text()) == named, name


def test_tables_of_an_earlier_run_with_the_same_name_do_not_stay(tmp_path: Path) -> None:
    dated = rows().assign(date="2024-03-09", location="C1")
    copied = replace(answers(), rows=dated, copies=(Copy(3, 0),), quarantine=dated[:1])
    write_answers(copied, tmp_path)
    before = {path.name for path in tmp_path.glob("*.csv")}
    again = write_answers(replace(answers(), answers=answers().answers[1:]), tmp_path)
    gone = {"records.csv", "captures.csv", "history.csv", "same_files.csv", "quarantined.csv"}
    assert before >= gone
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in again}
    assert not gone & {path.name for path in again}


def test_without_probabilities_candidates_are_ranked_and_nobody_is_named(tmp_path: Path) -> None:
    """Too few animals are known to learn what a score is worth."""
    alone = Answer(
        2, None, math.nan, math.nan, (Candidate("leo", math.nan, 0), Candidate("mia", math.nan, 1))
    )
    some = replace(answers(), answers=(alone,), learnt={"looked_by": ["SIFT"]}, notes=("no probabilities",))
    write_answers(some, tmp_path)
    sheets = {one.name: one.read_text() for one in tmp_path.glob("*.csv")}
    assert not [name for name, text in sheets.items() if "nan" in text]
    ranked = pd.read_csv(tmp_path / "candidates.csv", dtype=str, keep_default_na=False)
    assert ranked[["identity", "probability"]].to_numpy().tolist() == [["leo", ""], ["mia", ""]]
    assert "leo is most alike, no probability" in sheets["wildbook.csv"]
    again = answers_of(json.loads((tmp_path / "answers.json").read_text()))
    assert math.isnan(again.answers[0].probability)
    assert [one.identity for one in again.answers[0].candidates] == ["leo", "mia"]
    made = cards(some)
    json.dumps(made, allow_nan=False)
    page = re.sub(r"<style.*?</style>", "", write_review(some, made, tmp_path).read_text(), flags=re.S)
    assert "leo" in page
    assert "nan" not in page
    assert "How far to trust" not in page


def test_right_answers_are_counted_where_names_were_known() -> None:
    assert answers().right() == (1, 1)


def test_sections_go_from_sure_to_unknown() -> None:
    unsure = Answer(2, "leo", 0.6, 0.3, ())
    found = sections([unsure, *answers().answers])
    assert [(anchor, len(part)) for anchor, _, part in found] == [("named", 1), ("look", 1), ("unknown", 1)]


class Page(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_shows_query_candidates_and_matches_and_runs_nothing(tmp_path: Path) -> None:
    path = write_review(answers(), cards(answers(), drawn=1), tmp_path)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert HOSTILE in page.words
    assert "Content-Security-Policy" in text
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert len(page.sources) == 2 + 3 + 2  # queries, candidates with a photo, drawn pairs
    assert "95 %" in page.words
    assert "0.31" in page.words


def test_photos_that_were_answered_together_are_told_in_every_table(tmp_path: Path) -> None:
    write_answers(burst(), tmp_path)
    table = pd.read_csv(tmp_path / "answers.csv", dtype=str, keep_default_na=False)
    assert table["photos_together"].tolist() == ["2", "1", "2"]
    assert table["answer"].tolist() == ["leo", "unknown", "leo"]
    plain = json.loads((tmp_path / "answers.json").read_text())
    assert [one["together"] for one in plain["answers"]] == [0, None, 0]
    assert [a.together for a in answers_of(plain).answers] == [0, None, 0]


def test_photos_that_were_answered_together_share_a_card(tmp_path: Path) -> None:
    found = cards(burst(), drawn=1)
    assert [(card["path"], [other["path"] for other in card["more"]]) for card in found] == [
        ("p2.jpg", [HOSTILE]),
        ("p1.jpg", []),
    ]
    alone = Answers("x", burst().rows, burst().quarantine, (burst().answers[2],), burst().learnt)
    # The pair that is drawn shows the photo that is like the candidate, not the first of the card.
    assert found[0]["candidates"][0]["pair"] == cards(alone, drawn=1)[0]["candidates"][0]["pair"]
    path = write_review(burst(), found, tmp_path)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.tags.count("ol") == 2
    assert "One answer for 2 photos of one encounter" in page.words
    assert "2 photos, 1 answer, as photos of one encounter are answered together" in page.words
    assert HOSTILE in page.words
    assert page.words.count("Named beforehand: leo ✓") == page.words.count("mia ✗") == 1


def test_many_photos_are_spread_over_pages(tmp_path: Path) -> None:
    few = answers()
    many = Answers("trip", few.rows, few.quarantine, few.answers[:1] * (PER_PAGE + 5), few.learnt)
    write_review(many, cards(many), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "page-2.html"]
    second = Page((tmp_path / "page-2.html").read_text(encoding="utf-8"))
    assert len(second.sources) == 5 * 3


@pytest.mark.parametrize("count", [0, 1])
def test_few_answers_make_a_page_too(tmp_path: Path, count: int) -> None:
    few = answers()
    some = Answers("trip", few.rows, few.quarantine, few.answers[:count], few.learnt)
    write_answers(some, tmp_path)
    assert write_review(some, cards(some), tmp_path).exists()


def test_copies_of_reference_photos_have_a_table_of_their_own_and_no_answer(tmp_path: Path) -> None:
    rows = pd.DataFrame({"path": ["A0/0.jpg", "new_0.jpg"], "identity": ["A0", "unknown"]})
    answers = Answers("copies", rows, pd.DataFrame(), (), copies=(Copy(row=1, reference=0),))
    written = write_answers(answers, tmp_path)
    assert tmp_path / "same_files.csv" in written
    assert (tmp_path / "same_files.csv").read_text().splitlines() == [
        "path,same_file_as,identity",
        "new_0.jpg,A0/0.jpg,A0",
    ]
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1
    write_answers(Answers("none", rows, pd.DataFrame(), ()), tmp_path)
    assert not (tmp_path / "same_files.csv").exists()  # of an earlier run with the same name


def test_nobody_is_said_to_be_certain(tmp_path: Path) -> None:
    leo = Candidate("leo", 0.997, 0)
    some = replace(answers(), answers=(Answer(2, "leo", 0.997, 0.002, (leo,)),))
    page = write_review(some, cards(some), tmp_path).read_text()
    assert page.count("over 99 %") == 2  # the answer and its candidate
    assert "under 1 %" in page

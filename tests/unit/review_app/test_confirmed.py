"""No name leaves the review unless a person gave it to that photo, and no verdict contradicts it."""

import csv
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from test_server import client

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.understand import understand
from reid_ray.reporting.answers import Answer, Answers, Candidate, write_answers
from reid_ray.reporting.review import review_cards
from reid_ray.review_app.confirmed import EXPORTS
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.unknown import Unknown
from reid_ray.runs import files

ONE, TWO = "20260102-030405", "20260103-030405"
NAMES = {"leo", "mia", "new-1"}


def make_batch(folder: Path, name: str, paths: list[str]) -> None:
    """Each photo is surely leo, says the program; the last two are of one encounter."""
    sent = folder / name / "photos"
    sent.mkdir(parents=True)
    for number, path in enumerate(paths):
        Image.new("RGB", (160, 120), (30 * number, 90, 120)).save(sent / path)
    rows = pd.DataFrame(
        {
            "path": paths,
            "date": "2024-03-09 10:22",
            "location": "north",
            "species": "Lynx lynx",
            "encounter": [*("" for _ in paths[2:]), "7", "7"],
        }
    )
    leo, mia = Candidate("leo", 0.999, None), Candidate("mia", 0.001, None)
    alone = len(paths) - 2
    told = [
        Answer(row, "leo", 0.999, 0.001, (leo, mia), together=0 if row >= alone else None)
        for row in range(len(paths))
    ]
    made = Answers(name, rows, pd.DataFrame(), tuple(told))
    write_answers(made, folder / name / "answers")
    pictures = PreparedImages.pack(np.zeros((60, 60, 3), np.uint8) for _ in paths)
    files.write_json(
        folder / name / "answers" / "cards.json", review_cards(made, pictures, matching=None, drawn=0)
    )


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    make_batch(tmp_path, ONE, ["a.jpg", "b.jpg", "c.jpg", "d.jpg"])
    make_batch(tmp_path, TWO, ["e.jpg", "f.jpg"])
    return Batches(tmp_path, [], "ann")


@pytest.fixture
def web(batches: Batches) -> TestClient:
    return client(batches)


def decide(web: TestClient, **decided: str) -> None:
    for path, what in decided.items():
        batch = TWO if path in "ef" else ONE
        sent = {"revision": 1 << 40, "decided": {f"{path}.jpg": what}}
        assert web.post(f"/batches/{batch}/decide", json=sent).status_code == 200


def verdict(web: TestClient, one: str, other: str, said: str) -> None:
    key = {path: f"{TWO if path in 'ef' else ONE}/{path}.jpg" for path in "abcdef"}
    sent = {"one": key[one], "other": key[other], "verdict": said}
    assert web.post("/unknown/verdict", data=sent, follow_redirects=False).status_code == 303


def named_in(web: TestClient) -> dict[str, set[str]]:
    """By export, which animals it names, wherever in the file."""
    found = {}
    for name in EXPORTS:
        text = web.get(f"/{name}").text
        cells = {cell for row in csv.reader(io.StringIO(text)) for cell in row}
        found[name] = {animal for animal in NAMES if animal in cells}
    return found


def photos_named(web: TestClient) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO(web.get("/confirmed.csv").text))
    return {row["path"].rpartition("/")[2]: row["identity"] for row in rows}


def test_no_uncertain_name_is_in_any_export(web: TestClient, batches: Batches) -> None:
    """The program is 99.9 % sure of leo in all photos, and no person is."""
    assert all(not named for named in named_in(web).values())
    decide(web, a="unknown")
    assert all(not named for named in named_in(web).values())
    decide(web, b="is:leo")
    assert all(named == {"leo"} for named in named_in(web).values())
    assert photos_named(web) == {"a.jpg": "unknown", "b.jpg": "leo"}
    decide(web, b="")  # taken back
    assert all(not named for named in named_in(web).values())
    decide(web, b="is:mia", a="is:mia")
    assert all(named == {"mia"} for named in named_in(web).values())
    decide(web, a="unknown")
    decide(web, e="unknown")
    verdict(web, "a", "e", "same")
    assert photos_named(web) == {"a.jpg": "unknown", "b.jpg": "mia", "e.jpg": "unknown"}


def test_a_name_that_verdicts_contradict_is_in_no_export_until_that_is_resolved(web: TestClient) -> None:
    decide(web, a="unknown", b="unknown", e="unknown")
    verdict(web, "a", "b", "same")
    verdict(web, "b", "e", "same")
    sent = {"group": f"{ONE}/a.jpg", "fresh": "yes"}
    web.post("/unknown/name", data=sent)
    assert photos_named(web) == dict.fromkeys(("a.jpg", "b.jpg", "e.jpg"), "new-1")
    verdict(web, "a", "e", "different")
    page = web.get("/unknown").text
    assert "These verdicts cannot all be true" in page
    assert all(not named for named in named_in(web).values())
    assert "3 photos are left out" in web.get("/encounters").text
    assert (web.get("/confirmed.csv").text).count("\n") == 1  # the header
    verdict(web, "b", "e", "")  # somebody takes one back
    assert "they are of one encounter, or have one name" in web.get("/unknown").text
    assert photos_named(web) == {}
    decide(web, e="unknown")
    assert "cannot all be true" not in web.get("/unknown").text
    assert photos_named(web) == {"a.jpg": "new-1", "b.jpg": "new-1", "e.jpg": "unknown"}


def test_a_group_that_has_a_name_gives_it_to_the_other_with_the_verdict_and_undo_takes_it_back(
    web: TestClient,
) -> None:
    decide(web, a="unknown", b="unknown")
    web.post("/unknown/name", data={"group": f"{ONE}/a.jpg", "fresh": "yes"})
    page = web.get("/unknown").text
    assert "Same animal: all are <bdi>new-1</bdi>" in page
    sent = {"one": f"{ONE}/a.jpg", "other": f"{ONE}/b.jpg", "verdict": "same", "all": "new-1"}
    web.post("/unknown/verdict", data=sent)
    assert photos_named(web) == {"a.jpg": "new-1", "b.jpg": "new-1"}
    web.post("/unknown/undo")
    assert photos_named(web) == {"a.jpg": "new-1", "b.jpg": "unknown"}


def test_a_typo_makes_no_new_animal_of_a_group(web: TestClient) -> None:
    decide(web, a="unknown")
    told = web.post("/unknown/name", data={"group": f"{ONE}/a.jpg", "name": "loe"})
    assert told.status_code == 400
    assert "No animal is called “loe” (known are leo)" in told.text
    assert photos_named(web) == {"a.jpg": "unknown"}
    web.post("/unknown/name", data={"group": f"{ONE}/a.jpg", "name": " LEO "})
    assert photos_named(web) == {"a.jpg": "leo"}


def test_pairs_are_asked_once_and_not_where_the_answer_follows(web: TestClient, batches: Batches) -> None:
    decide(web, a="unknown", b="unknown", c="unknown", d="unknown", e="unknown")
    pairs = Unknown(batches).pairs()
    assert len(pairs) == 6  # of a, b, {c, d} and e
    verdict(web, "a", "b", "same")
    assert len(Unknown(batches).pairs()) == 3
    verdict(web, "b", "c", "different")  # so a is neither c nor d
    assert len(Unknown(batches).pairs()) == 2  # e and each of the two groups
    verdict(web, "a", "e", "unsure")
    assert Unknown(batches).pairs()[-1][0][-5] in "ab"  # what nobody could tell comes last


def test_the_tables_hold_who_decided_when_and_why(web: TestClient, batches: Batches) -> None:
    decide(web, a="is:leo", c="is:leo", d="is:leo", e="is:nia")
    box = {"revision": 1 << 40, "decided": {}, "boxes": {"a.jpg": [0.25, 0.25, 0.5, 0.5]}}
    web.post(f"/batches/{ONE}/decide", json=box)
    row, *_ = csv.DictReader(io.StringIO(web.get("/confirmed.csv").text))
    row = next(
        one for one in csv.DictReader(io.StringIO(web.get("/confirmed.csv").text)) if "a.jpg" in one["path"]
    )
    assert (row["reviewer"], row["evidence"]) == ("ann", "candidate 1 of 2, probability 1.00")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["decided_at"])
    assert row["bbox"] == "[40, 30, 80, 60]"  # of 160 x 120
    sheet = list(csv.DictReader(io.StringIO(web.get("/wildbook.csv").text)))
    both = next(one for one in sheet if one["Encounter.mediaAsset1"])
    assert both["Encounter.mediaAsset0"] == f"{ONE}/photos/c.jpg"
    assert (both["Encounter.individualID"], both["Encounter.genus"], both["Encounter.month"]) == (
        "leo",
        "Lynx",
        "03",
    )
    assert "decided by ann at 20" in both["Encounter.researcherComments"]
    assert web.get("/history.csv").text.splitlines() == ["Individual,2024-03-09", "leo,1", "nia,1"]
    assert "leo,1,north" in web.get("/captures.csv").text
    page = web.get("/encounters").text
    assert page.count("<tr>") == 1 + 3  # a, c with d, e
    # What was written beside the batches is what a later run reads as known animals.
    kept = batches.folder / "confirmed.csv"
    assert kept.read_text() == web.get("/confirmed.csv").text
    assert understand(kept).dataset.root == str(batches.folder)

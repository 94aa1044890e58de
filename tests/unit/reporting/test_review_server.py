"""The review server takes photos and decisions from its own pages, and from nobody else."""

import io
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from some_answers import HOSTILE, answers, burst, cards

from reid_ray.reporting import review_server
from reid_ray.reporting.answers import write_answers
from reid_ray.reporting.batches import Batches
from reid_ray.reporting.review_server import app
from reid_ray.runs import files

NAME = "20260102-030405"
JPEG = ("photos", ("leo 1.JPG", b"\xff\xd8 some bytes", "image/jpeg"))


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """One batch that is done."""
    folder = tmp_path / NAME
    (folder / "photos").mkdir(parents=True)
    for path in ("p2.jpg", "other.jpg"):
        (folder / "photos" / path).write_bytes(b"x")
    write_answers(answers(), folder / "answers")
    files.write_json(folder / "answers" / "cards.json", cards(answers()))
    return Batches(tmp_path, ["--reference", "none"])


def client(batches: Batches) -> TestClient:
    return TestClient(app(batches), base_url="http://127.0.0.1:8501")


def test_a_batch_is_shown_with_a_form_and_without_scripts(batches: Batches) -> None:
    page = client(batches).get(f"/batches/{NAME}/")
    assert page.status_code == 200
    assert 'name="p2.jpg" value="is:leo"' in page.text
    assert "<script" not in page.text
    assert HOSTILE not in page.text
    assert "form-action &#39;self&#39;" in page.text or "form-action 'self'" in page.text


def test_decisions_are_kept_shown_again_and_taken_along(batches: Batches) -> None:
    web = client(batches)
    sent = web.post(
        f"/batches/{NAME}/decisions?page=1",
        data={"p2.jpg": "is:leo", "../../evil.jpg": "is:leo", "other.jpg": "nonsense"},
        follow_redirects=False,
    )
    assert (sent.status_code, sent.headers["location"]) == (303, f"/batches/{NAME}/?page=1")
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo"}
    assert 'value="is:leo" checked' in web.get(f"/batches/{NAME}/").text
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo", "other:p2.jpg": " =new one "})
    table = pd.read_csv(io.StringIO(web.get("/confirmed.csv").text), keep_default_na=False)
    assert table[["path", "identity", "batch", "species"]].to_numpy().tolist() == [
        [f"{NAME}/photos/p2.jpg", "'=new one", NAME, "Lynx lynx"]
    ]
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": ""})
    assert batches.decisions(NAME) == {}


def test_a_decision_holds_for_all_photos_that_were_answered_together(batches: Batches) -> None:
    folder = batches.folder / NAME
    write_answers(burst(), folder / "answers")
    files.write_json(folder / "answers" / "cards.json", cards(burst()))
    (folder / "photos" / "second.jpg").write_bytes(b"x")
    raw = files.read_json(folder / "answers" / "cards.json")
    raw[0]["more"][0]["path"] = "second.jpg"
    files.write_json(folder / "answers" / "cards.json", raw)
    web = client(batches)
    assert "Who is it, in all 2 photos?" in web.get(f"/batches/{NAME}/").text
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo"})
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo", "second.jpg": "is:leo"}
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": ""})
    assert batches.decisions(NAME) == {}


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.2:8501", ""])
def test_other_host_names_are_refused(batches: Batches, host: str) -> None:
    """A page elsewhere that makes its own name point at 127.0.0.1 gets nothing."""
    assert client(batches).get("/", headers={"host": host}).status_code == 403


def test_forms_of_other_pages_are_refused(batches: Batches) -> None:
    web = client(batches)
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9"):
        told = web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "unknown"}, headers={"origin": origin})
        assert told.status_code == 403
    assert batches.decisions(NAME) == {}
    ours = {"origin": "http://127.0.0.1:8501"}
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "unknown"}, headers=ours)
    assert batches.decisions(NAME) == {"p2.jpg": "unknown"}


def test_photos_are_stored_under_names_of_our_own_making(batches: Batches) -> None:
    web = client(batches)
    sent = web.post(
        "/photos",
        files=[
            JPEG,
            JPEG,
            ("photos", ("../../up.png", b"x", "image/png")),
            ("photos", ("notes.txt", b"x", "text/plain")),
        ],
        follow_redirects=False,
    )
    assert sent.status_code == 303
    name = sent.headers["location"].strip("/").split("/")[1]
    folder = batches.folder / name
    assert sorted(p.name for p in (folder / "photos").iterdir()) == ["leo 1-2.jpg", "leo 1.jpg", "up.png"]
    assert "notes.txt: not a photo's name" in (folder / "refused.txt").read_text()
    assert list(batches.waiting) == [name]


def test_nothing_that_is_a_photo_is_told_and_leaves_no_batch(batches: Batches) -> None:
    told = client(batches).post("/photos", files=[("photos", ("a.txt", b"x", "text/plain"))])
    assert told.status_code == 400
    assert "a.txt: not a photo's name" in told.text
    assert batches.names() == [NAME]


def test_too_much_is_refused_before_it_is_read(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_server, "MOST_BYTES", 100)
    assert client(batches).post("/photos", files=[JPEG] * 3).status_code == 413
    monkeypatch.setattr(review_server, "MOST_BYTES", 1 << 30)
    monkeypatch.setattr(review_server, "MOST_FILE_BYTES", 4)
    assert "larger than" in client(batches).post("/photos", files=[JPEG]).text


@pytest.mark.parametrize("name", ["%2e%2e%2f", "20260102-030406", "%2e%2e", "x"])
def test_other_batches_are_not_found(batches: Batches, name: str) -> None:
    assert client(batches).get(f"/batches/{name}/").status_code == 404


def test_a_naming_that_fails_says_why_and_the_server_goes_on(batches: Batches) -> None:
    with client(batches) as web:
        sent = web.post("/photos", files=[JPEG], follow_redirects=False)
        page: Any = None
        for _ in range(300):
            page = web.get(sent.headers["location"])
            if "could not be looked at" in page.text:
                break
            assert "renews itself" in page.text
            time.sleep(0.2)
        assert "none: no such folder or file" in page.text
        assert web.get("/").status_code == 200

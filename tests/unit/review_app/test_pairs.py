"""What the page for one pair at a time asks is answered for its own batch alone."""

import io
import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from some_answers import rows
from test_server import NAME, batches, client  # noqa: F401  (a fixture)

from reid_ray.reporting.known import known_photos
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.server import app
from reid_ray.runs import files

AT = f"/batches/{NAME}"


def test_known_photos_are_those_of_named_reference_animals() -> None:
    told = known_photos(rows().assign(root="/r"), ["reference"])
    assert [(one["row"], one["identity"], one["root"], one["path"]) for one in told] == [
        (0, "leo", "/r", "p0.jpg"),
        (1, "mia", "/r", "p1.jpg"),
    ]


def test_a_decision_is_saved_with_the_revision_that_was_shown(batches: Batches) -> None:  # noqa: F811
    web = client(batches)
    told = web.get(f"{AT}/photos.json").json()
    assert (told["revision"], told["names"]) == (0, ["=mia", "leo"])
    sent = {"revision": 0, "decided": {"p2.jpg": "is:leo"}}
    assert web.post(f"{AT}/decide", json=sent).json()["revision"] == 1
    late = {"revision": 0, "decided": {"p2.jpg": "unknown", "other.jpg": "unknown"}}
    answer = web.post(f"{AT}/decide", json=late).json()
    assert answer["refused"] == {"p2.jpg": "is:leo"}
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo", "other.jpg": "unknown"}
    assert "p2.jpg,leo" in (batches.folder / "confirmed.csv").read_text()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"revision": true, "decided": {}}',
        b'{"revision": 0, "decided": {"../x.jpg": "unknown"}}',
        b'{"revision": 0, "decided": {"p2.jpg": 3}}',
        b'{"revision": 0, "decided": {"p2.jpg": "is:   "}}',
        json.dumps({"revision": 0, "decided": {"p2.jpg": "is:" + "x" * 300}}).encode(),
    ],
    ids=range(9),
)
def test_what_is_no_decision_is_refused_with_a_reason(batches: Batches, body: bytes) -> None:  # noqa: F811
    answer = client(batches).post(f"{AT}/decide", content=body)
    assert answer.status_code == 400
    assert "load the page again" in answer.text
    assert batches.decisions(NAME) == {}


@pytest.mark.parametrize("file", ["a.HEIC", "a.tif", "a.png"])
def test_photos_are_shown_in_a_format_of_browsers(batches: Batches, file: str) -> None:  # noqa: F811
    import pillow_heif

    picture, path = Image.new("RGB", (300, 200), (9, 99, 30)), batches.folder / NAME / "photos" / file
    if file.endswith("HEIC"):
        pillow_heif.from_pillow(picture).save(path)
    else:
        picture.save(path)
    web = client(batches)
    small, whole = web.get(f"{AT}/sent/{file}?px=60"), web.get(f"{AT}/sent/{file}")
    assert Image.open(io.BytesIO(small.content)).size == (60, 40)
    assert Image.open(io.BytesIO(whole.content)).size == (300, 200)
    assert whole.headers["content-type"] == ("image/png" if file == "a.png" else "image/jpeg")


def test_known_photos_are_served_by_row_and_never_from_outside_their_folder(
    batches: Batches,  # noqa: F811
    tmp_path: Path,
) -> None:
    root = tmp_path / "known"
    root.mkdir()
    Image.new("RGB", (30, 20)).save(root / "leo.jpg")
    Image.new("RGB", (30, 20)).save(tmp_path / "secret.jpg")
    told = [
        {"row": row, "identity": "leo", "root": str(root), "path": path, "facts": {}}
        for row, path in ((0, "leo.jpg"), (1, "../secret.jpg"))
    ]
    files.write_json(batches.folder / NAME / "answers" / "known.json", told)
    web = client(batches)
    assert [web.get(f"{AT}/known/{row}").status_code for row in (0, 1, 2)] == [200, 404, 404]


@pytest.mark.parametrize(
    "address",
    ["sent/gone.jpg", "sent/..%2fdecisions.jsonl", "cards/0/candidate-9", "cards/99/asked", "cards/0/else"],
)
def test_pictures_that_are_not_there_are_not_found(batches: Batches, address: str) -> None:  # noqa: F811
    assert client(batches).get(f"{AT}/{address}").status_code == 404


def test_nothing_of_it_is_given_without_the_token(batches: Batches) -> None:  # noqa: F811
    web = TestClient(app(batches), base_url="http://127.0.0.1:8501")
    for address in ("decide", "photos.json", "state.json", "sent/p2.jpg", "cards/0/asked", "known/0"):
        assert web.get(f"{AT}/{address}").status_code == 403
    assert web.post(f"{AT}/decide", json={"revision": 0, "decided": {"p2.jpg": "unknown"}}).status_code == 403


def test_the_page_runs_its_own_scripts_alone(batches: Batches) -> None:  # noqa: F811
    web = client(batches)
    page = web.get(f"{AT}/decide").text
    assert "script-src &#39;self&#39;" in page or "script-src 'self'" in page
    assert "unsafe" not in page
    assert web.get("/scripts/decide.js").headers["content-type"].startswith("text/javascript")
    assert web.get("/scripts/server.py").status_code == 404

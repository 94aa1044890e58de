"""The review server takes photos and decisions from its own pages, and from nobody else."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from some_answers import HOSTILE, answers, burst, cards

from reid_ray.errors import StorageError
from reid_ray.reporting.answers import write_answers
from reid_ray.review_app import decisions, queue, server
from reid_ray.review_app.decisions import Journal
from reid_ray.review_app.door import Door
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.server import app
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
    """A browser that opened the address with the token."""
    door = Door(server.MOST_BYTES)
    web = TestClient(app(batches, door), base_url="http://127.0.0.1:8501")
    web.cookies.set("reid_ray_review_8501", door.token)
    return web


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
    web.post(
        f"/batches/{NAME}/decisions",
        data={"p2.jpg": "is:leo", "other:p2.jpg": " =new one ", "new:p2.jpg": "on"},
    )
    header, row = web.get("/confirmed.csv").text.splitlines()
    assert header == (
        "path,identity,batch,bbox,date,location,species,orientation,encounter,decided_at,reviewer,evidence"
    )
    assert row.startswith(f"{NAME}/photos/p2.jpg,=new one,{NAME},,2023,")
    assert f"p2.jpg,'=new one,{NAME}" in web.get("/confirmed-spreadsheet.csv").text
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
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9", "http://[", "]"):
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
    assert batches.waiting() == [name]


def test_nothing_that_is_a_photo_is_told_and_leaves_no_batch(batches: Batches) -> None:
    told = client(batches).post("/photos", files=[("photos", ("a.txt", b"x", "text/plain"))])
    assert told.status_code == 400
    assert "a.txt: not a photo's name" in told.text
    assert batches.names() == [NAME]


def test_too_much_is_refused_before_it_is_read(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_BYTES", 100)
    assert client(batches).post("/photos", files=[JPEG] * 3).status_code == 413
    monkeypatch.setattr(server, "MOST_BYTES", 1 << 30)
    monkeypatch.setattr(server, "MOST_FILE_BYTES", 4)
    assert "larger than" in client(batches).post("/photos", files=[JPEG]).text


@pytest.mark.parametrize("name", ["%2e%2e%2f", "20260102-030406", "%2e%2e", "x"])
def test_other_batches_are_not_found(batches: Batches, name: str) -> None:
    assert client(batches).get(f"/batches/{name}/").status_code == 404


def test_a_naming_that_fails_says_why_and_the_server_goes_on(batches: Batches) -> None:
    with client(batches) as web:
        sent = web.post("/photos", files=[JPEG], follow_redirects=False)
        page: Any = None
        for _ in range(2000):
            page = web.get(sent.headers["location"])
            if "could not be identified" in page.text:
                break
            assert "reloads by itself" in page.text
            time.sleep(0.2)
        assert "none: no such folder or file" in page.text
        assert web.get("/").status_code == 200


def revision(page: str) -> str:
    return page.split('name="revision" value="')[1].split('"')[0]


def test_a_stale_page_takes_back_nothing_that_another_saved(batches: Batches) -> None:
    web = client(batches)
    address = f"/batches/{NAME}/decisions"
    stale = revision(web.get(f"/batches/{NAME}/").text)
    web.post(address, data={"p2.jpg": "is:leo", "revision": stale})
    sent = web.post(
        address, data={"p2.jpg": "", "other.jpg": "unknown", "revision": stale}, follow_redirects=False
    )
    assert sent.status_code == 303  # what it did not change is no decision
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo", "other.jpg": "unknown"}


def test_who_decides_otherwise_on_a_stale_page_is_told_and_the_first_decision_stays(batches: Batches) -> None:
    web = client(batches)
    address = f"/batches/{NAME}/decisions"
    stale = revision(web.get(f"/batches/{NAME}/").text)
    web.post(address, data={"p2.jpg": "is:leo", "revision": stale})
    sent = web.post(address, data={"p2.jpg": "unknown", "revision": stale}, follow_redirects=False)
    assert sent.status_code == 409
    assert "p2.jpg: another page saved leo after this one was opened" in sent.text
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo"}
    again = web.post(address, data={"p2.jpg": "unknown", "revision": revision(sent.text)})
    assert again.status_code == 200
    assert batches.decisions(NAME) == {"p2.jpg": "unknown"}


def test_a_typed_name_is_corrected_by_a_choice(batches: Batches) -> None:
    web = client(batches)
    address = f"/batches/{NAME}/decisions"
    web.post(address, data={"p2.jpg": "", "other:p2.jpg": "nia", "new:p2.jpg": "on"})
    page = web.get(f"/batches/{NAME}/").text
    assert 'value="is:nia" checked' in page
    assert 'name="other:p2.jpg" maxlength' in page  # empty, so that it does not count again
    web.post(address, data={"p2.jpg": "is:leo", "other:p2.jpg": "", "revision": revision(page)})
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo"}


def test_of_many_decisions_at_once_none_is_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: Journal(tmp_path).save({f"{n}.jpg": "unknown"}), range(30)))
    assert Journal(tmp_path).holds() == {f"{n}.jpg": "unknown" for n in range(30)}
    assert Journal(tmp_path).revision() == 30


def test_a_folder_is_served_by_one_process(tmp_path: Path) -> None:
    one, two = Batches(tmp_path / "review", []), Batches(tmp_path / "review", [])
    with one.held(), pytest.raises(StorageError, match="folder review is served already"), two.held():
        pass
    with two.held():
        pass


def test_a_line_that_is_damaged_or_cut_short_costs_no_other(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for name in ("a", "b", "c"):
        journal.save({f"{name}.jpg": "is:leo"})
    lines = journal.path.read_bytes().splitlines()
    journal.path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"leo", b"lea"), lines[2][:-9]]))
    assert journal.holds() == {"a.jpg": "is:leo"}
    assert [problem.split(",")[1] for problem in journal.problems()] == [" line 2", " line 3"]
    journal.save({"d.jpg": "unknown"})
    assert journal.holds() == {"a.jpg": "is:leo", "d.jpg": "unknown"}


def test_damaged_decisions_of_one_batch_harm_no_other_and_nobody_is_told_to_delete_them(
    batches: Batches,
) -> None:
    other = batches.folder / "20260102-030406"
    (other / "photos").mkdir(parents=True)
    (other / "photos" / "x.jpg").write_bytes(b"x")
    (other / "decisions.json").write_text('{"x.jpg": "is:l')
    web = client(batches)
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo"})
    assert f"{NAME}/photos/p2.jpg,leo,{NAME}" in web.get("/confirmed.csv").text
    page = web.get("/")
    assert page.status_code == 200
    assert "restore it from a copy" in page.text
    assert "delete" not in page.text


def test_decisions_of_an_earlier_version_are_kept(batches: Batches) -> None:
    files.write_json(batches.folder / NAME / "decisions.json", {"p2.jpg": "is:nia", "other.jpg": "unknown"})
    client(batches).post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo"})
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo", "other.jpg": "unknown"}


def test_what_the_disk_does_not_take_is_not_said_to_be_saved(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = client(batches)
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo"})

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decisions.os, "fsync", full)
    told = web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "unknown"})
    assert told.status_code == 500
    assert "nothing was saved" in told.text
    monkeypatch.undo()
    assert batches.decisions(NAME) == {"p2.jpg": "is:leo"}
    assert batches.journal(NAME).problems() == []


def test_photos_that_a_full_disk_does_not_take_are_told_and_leave_no_batch(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server.Path, "write_bytes", full)
    told = client(batches).post("/photos", files=[JPEG])
    assert told.status_code == 507
    assert "No space left on device" in told.text
    assert batches.names() == [NAME]
    assert not list(batches.folder.glob(".arriving*"))


def test_batches_that_waited_when_the_server_was_killed_wait_at_the_next_start(batches: Batches) -> None:
    sent = client(batches).post("/photos", files=[JPEG], follow_redirects=False)
    name = sent.headers["location"].strip("/").split("/")[1]
    (batches.folder / ".arriving-20260101-000000-1" / "photos").mkdir(parents=True)
    next_start = Batches(batches.folder, ["--reference", "none"])
    with next_start.held():
        assert next_start.waiting() == [name]
        assert not list(batches.folder.glob(".arriving*"))


def test_a_naming_that_is_killed_is_tried_again_and_then_offered_again(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = client(batches)
    sent = web.post("/photos", files=[JPEG], follow_redirects=False)
    name = sent.headers["location"].strip("/").split("/")[1]
    tries: list[str] = []

    async def killed(_: Batches, name: str) -> int:
        tries.append(name)
        return -9

    monkeypatch.setattr(queue.Batches, "_name", killed)
    asyncio.run(batches._attempt(name))
    assert tries == [name] * 3
    assert batches.state(name) == "failed"
    for address in (f"/batches/{name}/", f"/batches/{name}/decide"):
        page = web.get(address).text
        assert "identify was killed (signal 9); the memory" in page[: page.index("Try again")]
    sent = web.post(f"/batches/{name}/again", follow_redirects=False)
    assert sent.headers["location"] == f"/batches/{name}/decide"  # leads to the form where no script runs
    assert batches.waiting() == [name]


def test_a_batch_that_cannot_be_started_does_not_stop_the_next(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("20260103-000000", "20260104-000000"):
        (batches.folder / name / "photos").mkdir(parents=True)

    async def name_it(_: Batches, name: str) -> int:
        if name == "20260103-000000":
            raise OSError(28, "No space left on device")
        raise asyncio.CancelledError

    monkeypatch.setattr(queue.Batches, "_name", name_it)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(batches.work())
    assert batches.state("20260103-000000") == "failed"
    assert "No space left" in batches.why_failed("20260103-000000")
    page = client(batches).get("/batches/20260103-000000/").text
    assert "No space left" in page[: page.index("Try again")]


def test_damaged_answers_are_told_and_can_be_made_again(batches: Batches) -> None:
    web = client(batches)
    (batches.folder / NAME / "answers" / "answers.json").write_text("{}")
    for address in (f"/batches/{NAME}/", f"/batches/{NAME}/decide"):
        page = web.get(address)
        assert page.status_code == 200
        assert "not the answers of a run" in page.text[: page.text.index("Try again")]
    web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo"})
    web.post(f"/batches/{NAME}/again")
    assert batches.waiting() == [NAME]


def test_who_does_not_have_the_token_sees_and_changes_nothing(batches: Batches) -> None:
    door = Door(server.MOST_BYTES)
    for given in ({}, {"token": "x"}, {"token": ""}, {"token": "\u00e9"}):
        web = TestClient(app(batches, door), base_url="http://127.0.0.1:8501")
        for address in ("/", f"/batches/{NAME}/", "/confirmed.csv"):
            assert web.get(address, params=given).status_code == 403
        told = web.post(f"/batches/{NAME}/decisions", data={"p2.jpg": "is:leo"}, params=given)
        assert told.status_code == 403
    assert batches.decisions(NAME) == {}
    assert door.token not in repr(door)


def test_the_address_with_the_token_opens_the_door_and_then_hides_the_token(batches: Batches) -> None:
    door = Door(server.MOST_BYTES)
    web = TestClient(app(batches, door), base_url="http://127.0.0.1:8501")
    first = web.get("/batches/x/", params={"token": door.token, "page": 2}, follow_redirects=False)
    assert first.headers["location"] == "/batches/x/?page=2"
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert web.get("/").status_code == 200


@pytest.mark.parametrize("address", ["/", f"/batches/{NAME}/", "/gone", "/confirmed.csv"])
def test_no_page_may_be_framed(batches: Batches, address: str) -> None:
    for web in (client(batches), TestClient(app(batches), base_url="http://127.0.0.1:8501")):
        headers = web.get(address).headers
        assert headers["x-frame-options"] == "DENY"
        assert headers["content-security-policy"] == "frame-ancestors 'none'"


def test_a_browser_that_sends_no_photo_gets_a_page_with_the_reason(batches: Batches) -> None:
    raw = ("photos", ("IMG_1.CR2", b"x", "image/x-canon-cr2"))
    told = client(batches).post("/photos", files=[raw], headers={"accept": "text/html"})
    assert told.status_code == 400
    assert "IMG_1.CR2: CR2 files are not read; save it as JPEG and send that" in told.text
    assert told.text.startswith("<!DOCTYPE html>")


def test_a_failure_is_told_in_a_sentence_before_the_log(batches: Batches) -> None:
    folder = batches.folder / "20260105-000000"
    (folder / "photos").mkdir(parents=True)
    (folder / "log.txt").write_text("looking\nerror: /known: only one animal is known there\n")
    (folder / "failed.txt").write_text("exit code 2\n")
    page = client(batches).get("/batches/20260105-000000/").text
    assert page.index("/known: only one animal is known there") < page.index("Try again") < page.index("<pre")


def test_a_typed_name_that_nobody_has_is_confirmed_before_it_makes_an_animal(batches: Batches) -> None:
    web, address = client(batches), f"/batches/{NAME}/decisions"
    told = web.post(address, data={"p2.jpg": "", "other:p2.jpg": "leoo", "other.jpg": "unknown"})
    assert told.status_code == 409
    assert "no animal is called “leoo” (known are leo), so this was not saved" in told.text
    assert 'value="leoo"' in told.text
    assert batches.decisions(NAME) == {"other.jpg": "unknown"}
    web.post(address, data={"other:p2.jpg": "LEO"})
    assert batches.decisions(NAME)["p2.jpg"] == "is:leo"

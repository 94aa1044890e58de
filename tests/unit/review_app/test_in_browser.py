"""The review server as people use it: drop photos, look, decide, take the names along, without a script.

Skipped where Chromium is not installed (`apt-get install chromium`).
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from some_answers import answers, cards
from test_browser import CHROMIUM, RULES, axe, browser  # noqa: F401  (a fixture)

from reid_ray.datasets.understand import understand
from reid_ray.reporting.answers import write_answers
from reid_ray.review_app.door import Door
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.server import MOST_BYTES, app
from reid_ray.runs import files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")


class Quick(Batches):
    """Answers that were made beforehand stand in for the process that names, which is tested apart."""

    async def _name(self, name: str) -> int:
        folder = self.folder / name
        (folder / "log.txt").write_text("looking\n")
        write_answers(answers(), folder / "answers")
        files.write_json(folder / "answers" / "cards.json", cards(answers()))
        return 0


@contextmanager
def served_at(batches: Batches) -> Iterator[tuple[str, str]]:
    """Address and token of a server that runs."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        door = Door(MOST_BYTES)
        server = uvicorn.Server(uvicorn.Config(app(batches, door), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", door.token
        server.should_exit = True
        thread.join(20)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Batches]]:
    batches = Quick(tmp_path / "review", [])
    with served_at(batches) as (address, token):
        yield f"{address}/?token={token}", batches


def violations(page) -> list[object]:
    found = axe.Axe().run(page, options=RULES).response
    return [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]]


@pytest.mark.release
def test_photos_are_dropped_looked_at_decided_and_taken_along(browser, served, tmp_path) -> None:  # noqa: F811
    address, batches = served
    photos = [tmp_path / name for name in ("p2.jpg", "notes.txt")]
    Image.new("RGB", (60, 50)).save(photos[0])
    photos[1].write_text("not a photo")
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    assert violations(page) == []
    page.set_input_files("input[type=file]", [str(path) for path in photos])
    page.click("button")
    page.wait_for_selector("#one:not([hidden])", timeout=30_000)  # the waiting page reloads by itself
    page.click("text=Form without script")
    assert "notes.txt: not a photo" in page.inner_text("main")
    assert violations(page) == []
    assert page.evaluate("document.scripts.length") == 0

    card = page.locator(".review-card").first
    card.get_by_label("leo").check()
    page.click("text=Save decisions")
    assert page.locator(".review-card").first.get_by_label("leo").is_checked()
    assert "1 of 1 decided" in page.inner_text("main")
    page.locator(".review-card").first.get_by_label("Nobody known").check()  # rejected after all
    page.click("text=Save decisions")
    (name,) = batches.names()
    assert batches.decisions(name) == {"p2.jpg": "unknown"}
    page.locator(".review-card").first.get_by_label("Another").fill("nia")
    page.locator(".review-card").first.get_by_label("a new animal").check()
    page.click("text=Save decisions")
    with page.expect_download() as download:
        page.evaluate("location.href = 'confirmed.csv'")
    header, row = download.value.path().read_text().splitlines()
    assert header.startswith("path,identity,batch,")
    assert row.startswith(f"{name}/photos/p2.jpg,nia,{name},")
    assert said == []
    page.close()

    kept = batches.folder / "confirmed.csv"  # stands where its paths hold
    assert understand(kept).dataset.root == str(batches.folder)
    assert (batches.folder / kept.read_text().splitlines()[1].split(",")[0]).is_file()


@pytest.fixture
def listens(monkeypatch, tmp_path) -> list[tuple[str, int]]:
    """Where it would answer, in a folder with one known animal; every port is open to be connected to."""
    found: list[tuple[str, int]] = []

    def run(_: uvicorn.Server, sockets: list[socket.socket]) -> None:
        for one in sockets:
            socket.create_connection(one.getsockname(), timeout=5).close()
            found.append(one.getsockname())
            one.close()

    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "known" / "leo").mkdir(parents=True)
    Image.new("RGB", (60, 50)).save(tmp_path / "known" / "leo" / "1.jpg")
    return found


def test_it_listens_on_loopback_alone(listens) -> None:
    from reid_ray import review

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        free = listening.getsockname()[1]
    assert review.act(review.arguments().parse_args(["--reference", "known", "--port", str(free)])) == 0
    assert listens == [("127.0.0.1", free)]


def test_a_busy_port_is_another_port(listens, capsys) -> None:
    from reid_ray import review

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        busy = listening.getsockname()[1]
        assert review.act(review.arguments().parse_args(["--reference", "known", "--port", str(busy)])) == 0
    ((host, port),) = listens
    assert host == "127.0.0.1"
    assert busy < port <= busy + 20
    told = capsys.readouterr()
    assert f"port {busy} is busy" in told.err
    assert f"http://127.0.0.1:{port}/" in told.out

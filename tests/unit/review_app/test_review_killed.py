"""The server is killed while people decide, and nothing is lost; odd photos are shown or told in words.

Skipped where Chromium is not installed (`apt-get install chromium`).
"""

import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pillow_heif
import pytest
from PIL import Image
from test_browser import CHROMIUM, browser  # noqa: F401  (a fixture)
from test_decide_by_keys import batches as first_batch
from test_decide_by_keys import opened, press, saved
from test_in_browser import served_at, violations
from test_server import NAME

from reid_ray.reporting.answers import Answers, write_answers
from reid_ray.review_app.queue import Batches
from reid_ray.runs import files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
batches = pytest.fixture(first_batch.__wrapped__ if hasattr(first_batch, "__wrapped__") else first_batch)


def started(folder: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    """The command as people start it, and the address that it prints."""
    words = [sys.executable, "-m", "reid_ray.review", "--out", str(folder), "--port", str(port)]
    words += ["--reference", str(folder.parent / "animals"), "--reviewer", "ann"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://[^:]+:([0-9]+)/\S+", line):
            for _ in range(200):
                with socket.socket() as tried:
                    if tried.connect_ex(("127.0.0.1", int(found[1]))) == 0:
                        return process, found[0]
                time.sleep(0.1)
    raise AssertionError("it printed no address")


def test_decisions_outlive_a_server_that_is_killed_between_them(browser, batches) -> None:  # noqa: F811
    for number in (1, 2):
        folder = batches.folder.parent / "animals" / f"leo-{number}"
        folder.mkdir(parents=True)
        Image.new("RGB", (60, 50), (9, 9, 99 * number)).save(folder / "1.jpg")
    decided = {"a.jpg": "is:leo", "b.jpg": "unknown", "c.jpg": "is:mia"}
    server, address = started(batches.folder, 8620)
    port = int(address.split(":")[2].split("/")[0])
    try:
        with opened(browser, address.replace("/?", f"/batches/{NAME}/decide?")) as page:
            press(page, "Enter")
            saved(page, batches, {"a.jpg": "is:leo"})
            server.send_signal(signal.SIGKILL)
            server.wait(20)
            press(page, "u", "ArrowRight", "Enter")
            page.locator("#alerts", has_text="2 decisions not saved yet").wait_for()
            assert batches.decisions(NAME) == {"a.jpg": "is:leo"}
            server, address = started(batches.folder, port)
            with opened(browser, address.replace("/?", f"/batches/{NAME}/decide?")) as other:
                # The first tab sends what is left once the new address was opened anywhere in this browser.
                saved(page, batches, decided)
                other.reload()
                other.locator("#count", has_text="3 of 4 decided").wait_for()
    finally:
        server.kill()
        server.wait(20)
    assert {one.reviewer for one in batches.journal(NAME).signed().values()} == {"ann"}
    assert len((batches.folder / "confirmed.csv").read_text().splitlines()) == 1 + 3


class Reads(Batches):
    """Stands in for `identify`: one photo is read, and one is not."""

    async def _identify(self, words, log: Path) -> int:
        out = Path(words[words.index("--out") + 1])
        sent = sorted(one.name for one in (out / "photos").iterdir())
        done = Batches(self.folder, []).answers(NAME)
        rows = done.answers.rows.iloc[[0]].assign(path=["good.heic"])
        bad = [
            {"dataset": "query", "image_id": "", "path": one, "reason": "the file is damaged"}
            for one in sent
            if one != "good.heic"
        ]
        told = replace(done.answers.answers[0], row=0, identity=None)
        made = Answers("trip", rows, pd.DataFrame(bad), (told,))
        write_answers(made, out / "answers")
        files.write_json(out / "answers" / "cards.json", [dict(done.cards[0]) | {"path": "good.heic"}])
        return 0


def test_heic_that_is_dropped_in_is_shown_and_what_cannot_be_read_is_told_in_words(
    browser,  # noqa: F811
    batches,
    tmp_path,
) -> None:
    good, damaged, raw = (tmp_path / name for name in ("good.HEIC", "damaged.heic", "raw.CR2"))
    pillow_heif.from_pillow(Image.new("RGB", (320, 240), (200, 90, 20))).save(good)
    damaged.write_bytes(good.read_bytes()[:200])
    raw.write_bytes(b"II*\0 raw")
    with served_at(Reads(batches.folder, [])) as (address, token):
        page = browser.new_page()
        page.goto(f"{address}/?token={token}")
        page.set_input_files("input[type=file]", [str(good), str(damaged), str(raw)])
        page.click("button")
        page.wait_for_selector("#one:not([hidden])", timeout=30_000)
        alerts = page.inner_text("#alerts")
        assert "Not taken: raw.CR2: CR2 files are not read; save it as JPEG and send that" in alerts
        assert "Not taken: damaged.heic: the file is damaged; save it as JPEG and send that" in alerts
        page.locator("#asked img").evaluate("one => one.decode()")
        size = page.locator("#asked img").evaluate("one => [one.naturalWidth, one.naturalHeight]")
        assert size == [320, 240]
        assert violations(page) == []
        page.set_content("")
        page.goto(f"{address}/")
        page.set_input_files("input[type=file]", [str(raw)])
        page.click("button")
        page.get_by_text("CR2 files are not read").wait_for()
        assert "{" not in page.inner_text("body")  # words, not data
        assert violations(page) == []
        page.close()

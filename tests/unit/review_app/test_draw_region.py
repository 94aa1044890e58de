"""A region is drawn by mouse, touch, keys, or a form without a script, and the photo is asked again with it.

Skipped where Chromium is not installed (`apt-get install chromium`).
"""

import csv
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_browser import CHROMIUM, browser  # noqa: F401  (a fixture)
from test_decide_by_keys import batches as first_batch
from test_decide_by_keys import opened, press, saved
from test_in_browser import served_at, violations
from test_server import NAME

from reid_ray.reporting.answers import write_answers
from reid_ray.review_app.queue import Batches
from reid_ray.runs import files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")


class Turned(Batches):
    """Stands in for `identify`: with a region, the second candidate comes first."""

    async def _identify(self, words: Any, log: Path) -> int:
        out = Path(words[words.index("--out") + 1])
        log.write_text("looking\n")
        with (out / "photos.csv").open() as file:
            (path, _), *_ = [(row["path"], row["bbox"]) for row in csv.DictReader(file)]
        first = Batches(self.folder, []).answers(NAME)
        place = list(first.answers.rows["path"]).index(path)
        one, card = first.answers.answers[place], dict(first.cards[place])
        turned = replace(one, row=0, identity="mia", candidates=one.candidates[::-1])
        rows = first.answers.rows.iloc[[place]].reset_index(drop=True)
        write_answers(replace(first.answers, rows=rows, answers=(turned,)), out / "answers")
        files.write_json(out / "answers" / "known.json", [*first.known.values()])
        card |= {"identity": "mia", "candidates": card["candidates"][::-1]}
        files.write_json(out / "answers" / "cards.json", [card])
        return 0


batches = pytest.fixture(first_batch.__wrapped__ if hasattr(first_batch, "__wrapped__") else first_batch)


@pytest.fixture
def decide_at(batches: Batches) -> Iterator[str]:
    with served_at(Turned(batches.folder, [])) as (address, token):
        yield f"{address}/batches/{NAME}/decide?token={token}"


def photo_at(page) -> tuple[float, float, float, float]:
    """Where the photo, not its frame, lies on the screen: left, top, width, height."""
    frame = page.locator("#asked .glass").bounding_box()
    scale = min(frame["width"] / 160, frame["height"] / 120)
    width, height = 160 * scale, 120 * scale
    return (
        frame["x"] + (frame["width"] - width) / 2,
        frame["y"] + (frame["height"] - height) / 2,
        width,
        height,
    )


def answered(page) -> None:
    page.locator("#asked figcaption", has_text="Answered with the region you drew").wait_for(timeout=20_000)
    page.locator("#accept", has_text="It is mia").wait_for()


def test_by_mouse_also_on_a_photo_that_is_enlarged(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        page.locator("#asked img").evaluate("one => one.decode()")
        press(page, "+", "d")  # 1.5 times as large, around its middle
        left, top, width, height = photo_at(page)

        def on_screen(x: float, y: float) -> tuple[float, float]:
            return (left + width / 2 + (x - 0.5) * width * 1.5, top + height / 2 + (y - 0.5) * height * 1.5)

        page.mouse.move(*on_screen(0.75, 0.75))
        page.mouse.down()
        page.mouse.move(*on_screen(0.6, 0.5))
        page.mouse.move(*on_screen(0.25, 0.25))
        page.mouse.up()
        assert violations(page) == []
        page.click("#ask-region")
        answered(page)
        (box,) = batches.journal(NAME).boxes().values()
        assert box == pytest.approx([40, 30, 80, 60], abs=2)  # of 160 x 120
        page.reload()
        answered(page)
        assert violations(page) == []
        press(page, "Enter")
        saved(page, batches, {"a.jpg": "is:mia"})
        assert page.said == []


def test_by_keys_alone_with_undo(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        press(page, "d", *["ArrowLeft"] * 5, *["Shift+ArrowDown"] * 10, "Enter")
        answered(page)
        assert batches.journal(NAME).boxes() == {"a.jpg": [24, 30, 80, 84]}
        press(page, "z")
        page.locator("#accept", has_text="It is leo").wait_for()
        saved(page, batches, {})
        assert batches.journal(NAME).boxes() == {}
        press(page, "d", "Escape", "Enter")  # given up: nothing is asked, and Enter accepts again
        saved(page, batches, {"a.jpg": "is:leo"})
        press(page, "b")
        page.locator("#asked figcaption", has_text="Decided: leo").wait_for()
        assert page.said == []


def test_by_touch(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        page.locator("#asked img").evaluate("one => one.decode()")
        session = page.context.new_cdp_session(page)
        session.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        page.click("#draw")
        left, top, width, height = photo_at(page)

        def touch(kind: str, *at: tuple[float, float]) -> None:
            points = [{"x": left + x * width, "y": top + y * height} for x, y in at]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", (0.5, 0.5))
        touch("touchMove", (0.7, 0.7))
        touch("touchMove", (1.0, 1.0))
        touch("touchEnd")
        page.click("#ask-region")
        answered(page)
        (box,) = batches.journal(NAME).boxes().values()
        assert box == pytest.approx([80, 60, 80, 60], abs=2)


def test_by_clicks_and_numbers_without_a_script(browser, decide_at, batches) -> None:  # noqa: F811
    page = browser.new_page()
    page.context.new_cdp_session(page).send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.goto(decide_at)
    card = page.locator(".review-card", has=page.locator(".asked bdi", has_text=re.compile("^a.jpg$")))
    card.get_by_role("link", name="Draw where the animal is").click()
    photo = page.locator("input[type=image]")
    assert photo.bounding_box()["width"] == 160
    photo.click(position={"x": 120, "y": 90})
    page.get_by_text("Click the opposite corner").wait_for()
    page.locator("input[type=image]").click(position={"x": 40, "y": 30})
    page.get_by_text("Click one corner").wait_for()
    sides = [page.get_by_label(side).input_value() for side in ("Left", "Top", "Right", "Bottom")]
    assert [float(side) for side in sides] == pytest.approx([25, 25, 75, 75], abs=0.7)
    page.get_by_label("Right").fill("20")
    page.get_by_role("button", name="Ask with this region").click()
    page.get_by_text("left below right").wait_for()
    page.get_by_label("Right").fill("100")
    page.get_by_role("button", name="Ask with this region").click()
    for _ in range(50):
        page.reload()
        if card.get_by_text("Answered with the region you drew").count():
            break
        time.sleep(0.1)
    assert card.locator(".said").inner_text().startswith("mia")
    (box,) = batches.journal(NAME).boxes().values()
    assert box == pytest.approx([40, 30, 120, 60], abs=1)
    card.get_by_role("link", name="Draw where").click()
    page.get_by_role("button", name="Whole photo").click()
    assert batches.journal(NAME).boxes() == {}
    page.close()

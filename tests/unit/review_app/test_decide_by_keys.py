"""Photos are decided one pair at a time by keys alone; decisions outlive reloads, tabs and the server.

Skipped where Chromium is not installed (`apt-get install chromium`).
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_browser import CHROMIUM, browser  # noqa: F401  (a fixture)
from test_in_browser import served_at, violations
from test_server import NAME

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.reporting.answers import Answer, Answers, Candidate, write_answers
from reid_ray.reporting.known import known_photos
from reid_ray.reporting.review import review_cards
from reid_ray.review_app.queue import Batches
from reid_ray.runs import files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    """Four photos: three like leo, the last two of one encounter, and one like nobody."""
    root, sent = tmp_path / "known", tmp_path / "review" / NAME / "photos"
    root.mkdir()
    sent.mkdir(parents=True)
    known, asked = ["leo-1.jpg", "leo-2.jpg", "mia.jpg"], ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    for number, path in enumerate([*(root / one for one in known), *(sent / one for one in asked)]):
        Image.new("RGB", (160, 120), (30 * number, 90, 120)).save(path)
    rows = pd.DataFrame(
        {
            "path": [*known, *asked],
            "identity": ["leo", "leo", "mia", *["unknown"] * 4],
            "dataset": ["reference"] * 3 + ["query"] * 4,
            "root": [str(root)] * 3 + [str(sent)] * 4,
            "species": ["lynx"] * 7,
            "location": ["", "", "", "north", "south", "south", "north"],
            "encounter": ["", "", "", "1", "2", "2", "4"],
        }
    )
    leo, mia = Candidate("leo", 0.97, 0), Candidate("mia", 0.02, 2)
    told = (
        Answer(3, "leo", 0.97, 0.01, (leo, mia)),
        Answer(4, "leo", 0.96, 0.01, (Candidate("leo", 0.96, 0), mia)),
        Answer(5, "leo", 0.6, 0.3, (Candidate("leo", 0.6, 0), mia)),
        Answer(6, None, 0.7, 0.7, (Candidate("mia", 0.2, 2),)),
    )
    made = Answers("trip", rows, pd.DataFrame(), told)
    folder = sent.parent / "answers"
    write_answers(made, folder)
    files.write_json(folder / "known.json", known_photos(rows, ["reference"]))
    pictures = PreparedImages.pack(np.full((96, 120, 3), 9 * one, np.uint8) for one in range(7))
    files.write_json(folder / "cards.json", review_cards(made, pictures, matching=None, drawn=0))
    return Batches(tmp_path / "review", [])


@pytest.fixture
def decide_at(batches: Batches) -> Iterator[str]:
    """The page's address on a server that runs."""
    with served_at(batches) as (address, token):
        yield f"{address}/batches/{NAME}/decide?token={token}"


@contextmanager
def opened(browser, address: str) -> Iterator[object]:  # noqa: F811
    page = browser.new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#one:not([hidden]), #end:not([hidden])")
    yield page
    page.close()


def asked(page) -> str:
    return page.locator("#asked figcaption bdi").first.inner_text()


def press(page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def saved(page, batches: Batches, expected: dict[str, str]) -> None:
    """Once nothing is on its way any more."""
    for _ in range(200):
        if page.evaluate("unsent.length") == 0:
            break
        time.sleep(0.05)
    assert batches.decisions(NAME) == expected


def test_one_key_accepts_and_brings_the_next_photo(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        assert asked(page) == "a.jpg"  # the surest is first
        press(page, "Enter")
        assert asked(page) == "b.jpg"
        press(page, "ArrowRight", "Enter", "u")
        assert asked(page) == "d.jpg"
        press(page, "n", *"Leo", "Enter")  # a name that is known, whatever its case
        page.wait_for_selector("#end:not([hidden])")
        assert "4 of 4 decided" in page.inner_text("header")
        saved(page, batches, {"a.jpg": "is:leo", "b.jpg": "is:mia", "c.jpg": "unknown", "d.jpg": "is:leo"})
        assert violations(page) == []
        assert page.said == []


def test_a_name_that_nobody_has_is_asked_about_before_it_makes_an_animal(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        press(page, "n", *"loe", "Enter")
        assert "No animal is called “loe”. Do you mean leo" in page.inner_text("#doubt")
        assert violations(page) == []
        saved(page, batches, {})
        page.click("#doubt button")
        press(page, "n", *"zara", "Enter", "Enter", "n", "Enter")
        saved(page, batches, {"a.jpg": "is:leo", "b.jpg": "is:zara", "c.jpg": "is:new-1"})


def test_undo_and_back_bring_the_photo_again(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        press(page, "Enter", "u", "z")
        assert asked(page) == "b.jpg"
        saved(page, batches, {"a.jpg": "is:leo"})
        page.go_back()
        page.locator("#asked figcaption", has_text="c.jpg").wait_for()
        press(page, "b")
        page.locator("#asked figcaption", has_text="b.jpg").wait_for()
        press(page, "b")
        page.locator("#asked figcaption", has_text="Decided: leo").wait_for()
        press(page, "ArrowRight", "Enter")  # thought better of it
        saved(page, batches, {"a.jpg": "is:mia"})


def test_a_reload_keeps_the_photo_the_decisions_and_what_can_be_undone(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        press(page, "Enter")
        page.reload()
        page.locator("#asked figcaption", has_text="b.jpg").wait_for()
        assert "1 of 4 decided" in page.inner_text("header")
        press(page, "z")
        saved(page, batches, {})


def test_what_the_server_did_not_take_is_kept_and_sent_again(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        page.route(
            "**/decide", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
        )
        press(page, "Enter", "u")
        page.locator("#alerts", has_text="2 decisions not saved yet").wait_for()
        assert batches.decisions(NAME) == {}
        page.unroute("**/decide")
        page.reload()
        page.locator("#asked figcaption", has_text="c.jpg").wait_for()
        saved(page, batches, {"a.jpg": "is:leo", "b.jpg": "unknown"})


def test_of_two_tabs_the_later_is_told_and_takes_nothing_back(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as one, opened(browser, decide_at) as two:
        press(one, "Enter")
        saved(one, batches, {"a.jpg": "is:leo"})
        two.evaluate("decideCard('unknown')")  # as by a key, without the focus that would renew the page
        two.locator("#alerts", has_text="a.jpg: another page saved leo meanwhile").wait_for()
        saved(two, batches, {"a.jpg": "is:leo"})


def test_many_are_accepted_at_once_by_probability_and_by_encounter(browser, decide_at, batches) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        page.locator("summary").press("Enter")
        page.get_by_label("Location").select_option("south")
        page.locator("#accept-many").press("Enter")
        saved(page, batches, {"b.jpg": "is:leo"})
        page.locator("#undo").press("Enter")
        saved(page, batches, {})
        page.locator("#asked figcaption", has_text="b.jpg").wait_for()
        page.locator("#accept").focus()
        press(page, "e")
        saved(page, batches, {"b.jpg": "is:leo", "c.jpg": "is:leo"})


def test_the_photos_can_be_flipped_enlarged_and_seen_whole(browser, decide_at) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        press(page, "f")
        assert page.is_hidden("#asked")
        press(page, "f")
        assert page.is_hidden("#candidate")
        press(page, "s", "+", "+", "+", "Shift+ArrowRight", "p")
        assert "scale(3.375)" in page.locator("#asked img").get_attribute("style")
        assert page.locator("#asked img").get_attribute("src") == "sent/a.jpg"  # the original
        assert page.locator("#album li").count() == 2
        page.locator("#album button").nth(1).press("Enter")
        assert "leo-2.jpg" in page.inner_text("#candidate figcaption")
        page.evaluate(
            "Promise.all([...document.images].filter(one => one.currentSrc).map(one => one.decode()))"
        )
        assert violations(page) == []
        assert page.said == []


def test_the_grid_shows_all_and_leads_to_one(browser, decide_at) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        press(page, "n", "Escape", "g")
        assert page.locator("#grid li").count() == 4
        assert violations(page) == []
        page.locator("#grid button").nth(2).press("Enter")
        assert asked(page) == "c.jpg"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (820, "light")])
def test_nothing_is_wider_than_a_small_screen(browser, decide_at, width, scheme) -> None:  # noqa: F811
    with opened(browser, decide_at) as page:
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page) == []


def test_without_a_script_it_leads_to_the_page_with_forms(browser, decide_at) -> None:  # noqa: F811
    page = browser.new_page()
    page.context.new_cdp_session(page).send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.goto(decide_at)
    page.get_by_role("button", name="Save decisions").wait_for()
    page.close()

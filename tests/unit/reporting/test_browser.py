"""The page in a real browser: accessible, within the screen, and deaf to hostile names.

Skipped where Chromium is not installed (`apt-get install chromium`).
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with (
        sync_api.sync_playwright() as play,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        context = play.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, args=FLAGS, headless=True
        )
        yield context
        context.close()


@pytest.fixture(scope="module")
def report(record, images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with_gallery = replace(record, gallery_path=folder / "gallery")
    make_gallery(record.rows, images, panels(record), with_gallery.gallery_path)
    return write_report(with_gallery, folder / "out")


@pytest.fixture(scope="module")
def hostile(hostile_record, tmp_path_factory) -> Path:
    return write_report(hostile_record, tmp_path_factory.mktemp("hostile"))


@contextmanager
def opened(browser, path: Path, *, width: int = 1280, scheme: str = "light") -> Iterator[object]:
    """The page, and what the browser had to say about it in `page.said`."""
    page = browser.new_page()
    page.said = []
    page.on("console", lambda message: page.said.append(message.text))
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: page.said.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(path.as_uri())
    try:
        yield page
    finally:
        page.close()


def requests(page, path: Path) -> list[str]:
    """What was said or asked for, besides the page itself and the pictures inside it."""
    return [text for text in page.said if text != path.as_uri() and not text.startswith("data:")]


@pytest.mark.release
@pytest.mark.parametrize("name", ["report", "hostile"])
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_no_violation(browser, request, name, width, scheme) -> None:
    path = request.getfixturevalue(name)
    with opened(browser, path, width=width, scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        found = axe.Axe().run(page, options=RULES).response
        told = [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found["violations"]]
        assert told == []
        assert len(found["passes"]) > 20


@pytest.mark.parametrize("width", [1280, 800, 390, 320])
@pytest.mark.parametrize("name", ["report", "hostile"])
def test_nothing_is_wider_than_the_screen(browser, request, name, width) -> None:
    path = request.getfixturevalue(name)
    with opened(browser, path, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_the_text_of_figures_is_large_enough_and_inside(browser, report, width) -> None:
    """Cut labels and unreadable letters, measured as drawn."""
    script = """() => [...document.querySelectorAll('svg')].filter(s => s.getClientRects().length)
      .flatMap(svg => { const edge = svg.getBoundingClientRect();
        return [...svg.querySelectorAll('text')].map(t => { const b = t.getBoundingClientRect();
          const scale = edge.width / svg.viewBox.baseVal.width;
          return [t.textContent, scale * parseFloat(getComputedStyle(t).fontSize),
                  Math.min(b.left - edge.left, edge.right - b.right)]; }); })"""
    with opened(browser, report, width=width) as page:
        texts = page.evaluate(script)
    assert len(texts) > 100
    assert [text for text in texts if text[1] < 9.5] == []
    assert [text for text in texts if text[2] < -1] == []


def test_hostile_names_run_nothing_load_nothing_and_break_no_rule(browser, hostile) -> None:
    with opened(browser, hostile) as page:
        assert requests(page, hostile) == []
        assert page.evaluate("document.scripts.length") == 1
        assert "<script>alert(1)</script>" in page.inner_text("main")


def test_the_policy_stops_what_does_not_belong(browser, report, tmp_path: Path) -> None:
    """A script, a style and a picture from outside, smuggled in after the policy, come to nothing."""
    smuggled = (
        "<script>document.title = 'run'</script><style>h1 {color: rgb(1, 2, 3)}</style>"
        "<img src='http://127.0.0.1:9/x.png' alt=''>"
    )
    text = report.read_text(encoding="utf-8").replace("</main>", smuggled + "</main>")
    page_path = tmp_path / "smuggled.html"
    page_path.write_text(text, encoding="utf-8")
    with opened(browser, page_path) as page:
        assert page.title() != "run"
        colour = page.evaluate("getComputedStyle(document.querySelector('h1')).color")
        assert colour != "rgb(1, 2, 3)"
        assert sum("Content Security Policy" in text for text in page.said) == 3


def test_the_leaderboard_sorts_by_any_column_and_filters_by_family(browser, report) -> None:
    with opened(browser, report) as page:
        table = page.locator("#leaderboard table.sortable").first
        names = table.locator("tbody th bdi")
        seen = table.locator("thead th").nth(1)
        seen.locator("button").click()
        assert seen.get_attribute("aria-sort") == "descending"
        cells = [
            float(text.split()[0])
            for text in table.locator("tbody tr td:nth-child(2)").all_inner_texts()
            if text[0].isdigit()
        ]
        assert cells == sorted(cells, reverse=True)
        seen.locator("button").press("Enter")
        assert seen.get_attribute("aria-sort") == "ascending"
        everyone = names.count()
        page.locator("#leaderboard").get_by_label("Family").select_option("local features")
        visible = [name for name in names.all() if name.is_visible()]
        assert [name.inner_text() for name in visible] == ["SIFT"]
        assert names.count() == everyone


FIRST = 12


def test_wrong_answers_are_filtered_by_animal_and_method_and_enlarged(browser, report) -> None:
    with opened(browser, report) as page:
        examples = page.locator("#examples")
        cards = examples.locator(".gallery > li")
        shown = examples.get_by_role("status")
        everyone = cards.count()
        assert everyone > FIRST
        assert shown.inner_text() == f"{FIRST} of {everyone} shown"
        assert cards.locator("visible=true").count() == FIRST
        for event, visible in (("beforeprint", everyone), ("afterprint", FIRST)):
            page.evaluate("event => dispatchEvent(new Event(event))", event)
            assert cards.locator("visible=true").count() == visible
        more = examples.get_by_role("button", name=f"Show all {everyone}")
        more.press("Enter")
        assert shown.inner_text() == f"{everyone} of {everyone} shown"
        assert cards.locator("visible=true").count() == everyone
        assert not more.is_visible()
        # The focus is where one had read to.
        last = cards.nth(FIRST).get_by_role("button", name="Enlarge")
        assert last.evaluate("one => one == document.activeElement")
        examples.get_by_label("Method").select_option("SIFT")
        examples.get_by_label("Answer").select_option("Wrong")
        animal = cards.locator("visible=true").first.get_attribute("data-animal")
        examples.get_by_label("Animal").select_option(animal)
        left = [card for card in cards.all() if card.is_visible()]
        assert left
        for card in left:
            kinds = [card.get_attribute(f"data-{name}") for name in ("method", "answer", "animal")]
            assert kinds == ["SIFT", "Wrong", animal]
        assert shown.inner_text() == f"{len(left)} of {cards.count()} shown"
        small = left[0].locator("img").first.bounding_box()["width"]
        left[0].get_by_role("button", name="Enlarge").press("Enter")
        assert page.locator("dialog img").first.bounding_box()["width"] > 1.5 * small
        page.keyboard.press("Escape")
        page.locator("dialog").wait_for(state="detached")


def test_it_prints_with_every_figure_in_place(browser, report) -> None:
    with opened(browser, report) as page:
        assert page.pdf(format="A4").startswith(b"%PDF")
        page.emulate_media(media="print")
        shown = page.evaluate(
            "[...document.querySelectorAll('svg')].filter(s => s.getClientRects().length).length"
        )
        assert shown == 8 + 5  # five of them over collections

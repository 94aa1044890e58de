"""Figures as SVG: safe in a page, whatever the names in the data."""

import re
from functools import partial
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from reid_ray.reporting import boxes, figures, over_collections, tables
from reid_ray.reporting.html import style_sheet
from reid_ray.reporting.pooled import candidates, pooled_methods, selected_trial_of
from reid_ray.reporting.svg import NARROW_PX, VARIABLES, WIDE_PX, new_figure, style, to_svg
from reid_ray.reporting.text import duration, percent, shorten, visible


def draw_all(record, width_px: float = WIDE_PX) -> dict[str, str]:
    methods = pooled_methods(record)
    board = tables.leaderboard(record)
    seen, chosen = candidates(methods, "seen"), selected_trial_of(methods)
    draw = {
        "forest": partial(figures.forest, board),
        "backbones": partial(boxes.backbone_by_loss, methods),
        "arcface": partial(boxes.hyper_parameters, methods, "ArcFace"),
        "combinations": partial(over_collections.combinations, methods, "ArcFace"),
        "per_collection": partial(over_collections.per_collection, methods),
        "sensitivity": partial(over_collections.sensitivity, methods),
        "compared": partial(over_collections.compared, methods),
        "cmc": partial(figures.cmc_curves, seen, domain="seen"),
        "training": partial(figures.training_curves, methods),
        "animals": partial(figures.identity_bars, chosen),
    }
    return {name: one(name=f"{name}-{width_px:g}", width_px=width_px) for name, one in draw.items()}


@pytest.fixture(scope="module")
def drawn(record):
    """Every figure in both widths."""
    narrow = {f"{name} narrow": svg for name, svg in draw_all(record, NARROW_PX).items()}
    return draw_all(record) | narrow


def test_figures_are_well_formed_small_and_speak_to_screen_readers(drawn):
    for svg in drawn.values():
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root.find("{http://www.w3.org/2000/svg}title").text
        assert len(svg) < 60_000


def test_figures_bring_no_style_script_or_outside_reference(drawn):
    for svg in drawn.values():
        assert not re.search(r"<style|style=|<script|<image|xlink|https?://(?!www\.w3\.org)", svg)


def test_identifiers_never_clash_between_figures_and_all_references_resolve(drawn):
    page = "".join(drawn.values())
    identifiers = re.findall(r' id="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)
    assert {a or b for a, b in references} <= set(identifiers)


def test_every_colour_is_a_variable_that_the_style_sheet_sets_for_light_and_dark(drawn):
    page = "".join(drawn.values())
    bare = re.findall(r'(?:fill|stroke)="(#[0-9a-f]+)"', page)
    assert bare == []
    css = style_sheet()
    for name in VARIABLES.values():
        assert len(re.findall(rf"--{name}:", css)) >= 2, name


def test_the_same_study_gives_the_same_bytes(record, drawn):
    assert draw_all(record, NARROW_PX).items() | draw_all(record).items() <= (
        {(name.removesuffix(" narrow"), svg) for name, svg in drawn.items()}
    )


def test_hostile_names_are_drawn_as_plain_text(hostile_study):
    for svg in draw_all(hostile_study).values():
        root = ElementTree.fromstring(svg)
        assert not [e for e in root.iter() if "script" in e.tag]
    forest = figures.forest(tables.leaderboard(hostile_study))
    texts = [e.text for e in ElementTree.fromstring(forest).iter() if e.tag.endswith("text")]
    assert any(text.startswith("<script>alert(1)</script>") for text in texts)
    assert any(text.startswith(r"$\frac{a$") for text in texts)
    assert any("\u27e8U+202E\u27e9" in text for text in texts)


def test_lines_of_guessing_stand_beside_the_dots_and_cross_no_name(record):
    board = tables.leaderboard(record)
    svg = ElementTree.fromstring(figures.forest(board))
    names = [float(e.get("y")) for e in svg.iter() if e.get("y") and "lr=" in (e.text or "")]
    lines = [e.get("d").split() for e in svg.iter() if e.get("stroke-dasharray") and e.get("d")]
    spans = [(float(d[2]), float(d[5])) for d in lines if d[1] == d[4]]  # M x y L x y, upright
    assert len(names) > 5
    assert len(spans) > 2 * len(names)  # seen and unseen, and those of baselines
    letters_px = 12
    assert not [
        (name, span) for name in names for span in spans if span[0] < name + 3 and span[1] > name - letters_px
    ]


def test_a_forest_of_many_trials_keeps_every_baseline_and_the_chosen_trial(record):
    board = tables.leaderboard(record)
    forest = figures.forest(board, most=5)
    for name in ("SIFT", "Untrained swin_tiny", "(chosen)"):
        assert name in forest
    assert forest.count("lr=") < figures.forest(board).count("lr=")


def test_a_study_without_trials_has_no_box_plots(record):
    baselines = [m for m in pooled_methods(record) if not m.is_trial]
    assert boxes.backbone_by_loss(baselines) == ""
    assert boxes.hyper_parameters(baselines, "ArcFace", name="x") == ""


def test_text_is_never_read_as_mathematics():
    with style():
        figure = new_figure(100, 50)
        figure.add_axes((0, 0, 1, 1)).set_title(r"$\frac{a$ and $x_1$")
        assert r"$\frac{a$ and $x_1$" in to_svg(figure, name="t", title="t")


def test_hidden_characters_are_shown_and_the_scripts_of_the_world_are_kept():
    assert visible("a\u202eb\x07") == "a\u27e8U+202E\u27e9b\u27e8U+0007\u27e9"
    assert visible("zèbre شیر 斑马 é") == "zèbre شیر 斑马 é"


def test_shortening_keeps_both_ends():
    assert shorten("abcdefghij", 5) == "ab…ij"
    assert shorten("abc", 5) == "abc"


def test_numbers_are_written_as_people_read_them():
    assert percent(0.12345) == "12.3"
    assert percent(float("nan")) == "–"
    assert [duration(s) for s in (8.44, 125, 12_000)] == ["8.4 s", "2 min 05 s", "3 h 20 min"]


@pytest.mark.parametrize("animals", [200, 201, 10_000])
def test_of_many_animals_a_figure_shows_how_many_have_which_accuracy(animals: int) -> None:
    """Bars of twenty steps, however many animals; their heights add up to all of them."""
    share = np.random.default_rng(0).integers(0, 3, animals)
    answers = pd.DataFrame(
        {
            "dataset": "many",
            "domain": "seen",
            "identity": [f"animal {number}" for number in range(animals) for _ in range(2)],
            "correct": [place < right for right in share for place in range(2)],
        }
    )
    method = SimpleNamespace(predictions=answers, family="local features", name="SIFT")
    svg = figures.identity_bars(method)
    assert f"many: {animals} animals" in svg
    assert len(svg) < 100_000
    assert ("top-1 of an animal" in svg) == (animals > 200)

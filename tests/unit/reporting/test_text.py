"""How numbers and words are put on the page."""

import pytest

from reid_ray.reporting.html import environment
from reid_ray.reporting.text import hours, score


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0.95234, "0.9523"), (343.81, "343.8"), (1.379e6, "1 379 000"), (-25_000.0, "-25 000")],
)
def test_a_score_is_readable_whatever_its_scale(number: float, shown: str) -> None:
    assert score(number).replace("\u202f", " ") == shown


def test_hours_that_are_not_known_are_a_dash() -> None:
    assert (hours(0.125), hours(float("nan"))) == ("0.12", "\u2013")


def test_what_stands_between_backticks_is_code_and_nothing_else_is_markup() -> None:
    shown = environment().from_string("{{ text | code }}")
    assert shown.render(text="run `a <b>`, then") == "run <code>a &lt;b&gt;</code>, then"
    assert shown.render(text="<i>odd ` one</i>") == "&lt;i&gt;odd ` one&lt;/i&gt;"
    assert "<script>" not in shown.render(text="`<script>`")

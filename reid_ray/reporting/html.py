"""Render pages without foreign scripts or outside resources, whatever the names in the data are.

In: template values. Out: escaped text; the policy that lets nothing else load or run.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reid_ray.reporting.text import duration, hours, percent, score, shorten, visible

_TEMPLATES = Path(__file__).parent / "templates"


def style_sheet() -> str:
    """The one style sheet."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


def report_script() -> str:
    """The report's one script. Without it the page shows all the same."""
    return (_TEMPLATES / "report.js").read_text(encoding="utf-8")


def policy(css: str, *, forms: bool = False, script: bool = False, inline: str = "") -> str:
    """Nothing may load or run; the one style sheet is named by its hash. Forms go nowhere, or to the
    server that the page came from; with `script`, its script and pictures come from there too.

    Args:
        inline: the one script that stands in the page and may run, if any.
    """
    ours = "script-src 'self'; connect-src 'self'; img-src 'self' data:" if script else "img-src data:"
    if inline:
        ours = f"script-src '{_digest(inline)}'; {ours}"
    return (
        f"default-src 'none'; style-src '{_digest(css)}'; {ours}; "
        f"base-uri 'none'; form-action '{'self' if forms else 'none'}'"
    )


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def environment() -> jinja2.Environment:
    """Templates that escape everything and refuse names that are not there."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    made.filters.update(
        percent=percent,
        points=_points,
        duration=duration,
        hours=hours,
        score=score,
        shorten=shorten,
        slug=_slug,
        code=_code,
    )
    made.tests["measured"] = _is_measured
    return made


def _finalize(value: Any) -> Any:
    """Every text that is printed shows its hidden characters; our own markup passes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _is_measured(value: Any) -> bool:
    return value is not None and value == value


def _points(share: float) -> str:
    """A difference with its sign, typographic minus."""
    if not _is_measured(share):
        return "\u2013"
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def _code(text: str) -> Markup:
    """What stands `between backticks` as code; everything is escaped."""
    parts = [Markup.escape(part) for part in visible(text).split("`")]
    if len(parts) % 2 == 0:
        return Markup("`").join(parts)
    marked = [
        Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _slug(text: str) -> str:
    return text.replace(" ", "-").lower()

"""Write a study's report: one self-contained page, its tables as CSV, and a manifest of checksums.

In: `StudyRecord`. Out: `index.html` without scripts or outside resources, `*.csv`, `manifest.json`.
"""

import base64
import datetime
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reid_ray.reporting import tables
from reid_ray.reporting.contents import SECTIONS
from reid_ray.reporting.sections.section import Subject
from reid_ray.reporting.text import duration, percent, shorten, visible
from reid_ray.runs import files
from reid_ray.runs.study import StudyRecord

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(record: StudyRecord, out: Path) -> Path:
    """Write the report into the folder `out`; returns the path of its page.

    Made twice from the same study, all files are the same, byte for byte.
    """
    subject = Subject(record)
    csvs = {
        name: tables.to_csv(table)
        for section in SECTIONS
        for name, table in section.tables(subject).items()
    }
    written = {name: text.encode("utf-8", "replace") for name, text in csvs.items()}
    written["index.html"] = render(subject, list(csvs)).encode("utf-8", "replace")
    for name, data in written.items():
        files.write_bytes(out / name, data)
    manifest = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(written.items())
    }
    files.write_json(out / "manifest.json", {"study": record.study["name"], "files": manifest})
    return out / "index.html"


def render(subject: Subject, csv_files: list[str]) -> str:
    """The page as text."""
    css = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    study = subject.record.study
    shared = {
        "study": {**study, "seconds": float(study.get("seconds") or 0.0)},
        "domains": subject.domains,
    }
    environment = _environment()
    show = environment.get_template("macros.html.j2").make_module(shared)
    written = []
    for section in SECTIONS:
        contents = section.contents(subject)
        if contents is not None:
            template = environment.get_template(f"{section.name}.html.j2")
            body = template.render(**shared, **contents, show=show)
            written.append((section, Markup(body)))  # escaped as it was rendered
    return environment.get_template("report.html.j2").render(
        **shared,
        css=Markup(css),  # our own file
        policy=_policy(css),
        started=_day(study.get("started_at")),
        sections=written,
        csv_files=csv_files,
    )


def _day(started_at: Any) -> str:
    if not isinstance(started_at, int | float) or not started_at:
        return ""
    day = datetime.datetime.fromtimestamp(started_at, datetime.UTC)
    return f"{day.day} {day:%B %Y}"


def _policy(css: str) -> str:
    """Nothing may load or run; the one style sheet is named by its hash."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(
        percent=percent, points=_points, duration=duration, shorten=shorten, slug=_slug
    )
    environment.tests["measured"] = _is_measured
    return environment


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


def _slug(text: str) -> str:
    return text.replace(" ", "-").lower()

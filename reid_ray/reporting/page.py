"""Write a study's report: one self-contained page, its tables as CSV, and a manifest of checksums.

In: `StudyRecord`. Out: `index.html` without outside resources and with one script of
ours, `*.csv`, `manifest.json`.
"""

import datetime
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reid_ray.reporting import tables
from reid_ray.reporting.contents import SECTIONS
from reid_ray.reporting.html import environment, policy, report_script, style_sheet
from reid_ray.reporting.sections.section import Section, Subject
from reid_ray.runs import files
from reid_ray.runs.study import StudyRecord


def write_report(record: StudyRecord, out: Path, sections: Sequence[Section] = SECTIONS) -> Path:
    """Write the report, or some of its sections, into the folder `out`; returns the path of its page.

    Made twice from the same study, all files are the same, byte for byte.
    """
    subject = Subject(record)
    of_sections = {name: table for section in sections for name, table in section.tables(subject).items()}
    # No program reads a table without columns, such as that of published figures where there are none.
    csvs = {name: tables.to_csv(table) for name, table in of_sections.items() if len(table.columns)}
    written = {name: text.encode("utf-8", "replace") for name, text in csvs.items()}
    written["index.html"] = render(subject, list(csvs), sections).encode("utf-8", "replace")
    for name, data in written.items():
        files.write_bytes(out / name, data)
    manifest = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(written.items())
    }
    files.write_json(out / "manifest.json", {"study": record.study["name"], "files": manifest})
    return out / "index.html"


def render(subject: Subject, csv_files: list[str], sections: Sequence[Section] = SECTIONS) -> str:
    """The page as text."""
    css, script = style_sheet(), report_script()
    study = subject.record.study
    shared = {"study": {**study, "seconds": float(study.get("seconds") or 0.0)}, "domains": subject.domains}
    templates = environment()
    show = templates.get_template("macros.html.j2").make_module(shared)
    written = []
    for section in sections:
        contents = section.contents(subject)
        if contents is not None:
            template = templates.get_template(f"{section.name}.html.j2")
            body = template.render(**shared, **contents, show=show)
            written.append((section, Markup(body)))  # escaped as it was rendered
    return templates.get_template("report.html.j2").render(
        **shared,
        css=Markup(css),  # our own file
        script=Markup(script),
        policy=policy(css, inline=script),
        started=_day(study.get("started_at")),
        sections=written,
        csv_files=csv_files,
    )


def _day(started_at: Any) -> str:
    if not isinstance(started_at, int | float) or not started_at:
        return ""
    day = datetime.datetime.fromtimestamp(started_at, datetime.UTC)
    return f"{day.day} {day:%B %Y}"

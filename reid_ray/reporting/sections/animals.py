"""Show how well each single animal is found, and export every answer."""

from functools import partial
from typing import Any

from reid_ray.reporting import figures, tables
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    if subject.best is None:
        return None
    bars = drawing(partial(figures.identity_bars, subject.best), "animals")
    return {"bars": bars, "method": subject.best.name} if bars else None


SECTION = Section(
    "animals",
    "Per animal",
    _contents,
    lambda subject: {
        "animals.csv": tables.per_identity(subject.methods),
        "answers.csv": tables.answers(subject.methods, subject.record.rows),
    },
)

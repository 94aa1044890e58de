"""Show how well methods tell unknown individuals from known ones."""

from typing import Any

from reid_ray.reporting.open_set import open_set_csv, open_set_rows
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any] | None:
    rows = open_set_rows(subject.methods)
    return {"open_set": rows} if rows else None


SECTION = Section("open_set", "Unknown individuals", _contents, lambda s: open_set_csv(s.methods))

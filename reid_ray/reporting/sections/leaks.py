"""Name the collections that leak, and what their backgrounds give away."""

from typing import Any

from reid_ray.reporting.leaks import leak_contents, leaks_csv
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any] | None:
    found = leak_contents(subject.record.study)
    return found if found["leaks_sought"] or found["background"] else None


SECTION = Section("leaks", "Leaks", _contents, lambda s: leaks_csv(s.record.study))

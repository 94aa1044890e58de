"""Show photos that were told right and wrong, with their matched keypoints."""

from typing import Any

from reid_ray.reporting.gallery import MOST_LINES
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any] | None:
    gallery = subject.gallery
    if not gallery:
        return None
    wrong = [sum(not case["correct"] for case in panel["cases"]) for panel in gallery["panels"]]
    return {
        "gallery": gallery,
        "most_lines": MOST_LINES,
        "shown_wrong": sum(wrong),
        # Galleries of before do not say how many there were.
        "all_wrong": sum(panel.get("wrong", n) for panel, n in zip(gallery["panels"], wrong, strict=True)),
    }


SECTION = Section("examples", "Right and wrong", _contents)

"""Show what withholding some species from training costs on their queries."""

from typing import Any

from reid_ray.reporting.sections.section import Section, Subject
from reid_ray.reporting.transfer import transfer_frame, transfer_section


def _contents(subject: Subject) -> dict[str, Any] | None:
    withheld = transfer_section(subject.record)
    return {"withheld": withheld} if withheld["tables"] else None


SECTION = Section(
    "withheld",
    "Trained with and without these species",
    _contents,
    lambda subject: {"transfer.csv": transfer_frame(subject.record)},
)

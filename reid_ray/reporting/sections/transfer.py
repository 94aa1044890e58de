"""Compare accuracy on species that could be trained on and on those that could not."""

from typing import Any

from reid_ray.reporting import tables
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any] | None:
    if len(subject.domains) < 2:
        return None
    return {"transfer": tables.seen_unseen(subject.methods).to_dict("records")}


SECTION = Section(
    "transfer",
    "Seen and unseen species",
    _contents,
    lambda subject: {"seen_unseen.csv": tables.seen_unseen(subject.methods)},
)

"""Audit the photos: what each collection holds, how it was divided, what was quarantined."""

from typing import Any

from reid_ray.reporting.sections.section import Section, Subject

_QUARANTINE_ROWS = 50


def _contents(subject: Subject) -> dict[str, Any]:
    quarantine = subject.record.quarantine
    return {
        "audit": subject.audit.to_dict("records"),
        "quarantine": quarantine.head(_QUARANTINE_ROWS).astype(str).to_dict("records"),
        "quarantine_total": len(quarantine),
    }


SECTION = Section(
    "data",
    "Photos",
    _contents,
    lambda subject: {"collections.csv": subject.audit, "quarantine.csv": subject.record.quarantine},
)

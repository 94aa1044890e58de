"""Say what each kind of method cost in time."""

from typing import Any

import numpy as np

from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any]:
    real = [method for method in subject.methods if method.family != "chance"]
    rows = []
    for family in dict.fromkeys(method.family for method in real):
        seconds = np.array([m.seconds for m in real if m.family == family])
        rows.append(
            {
                "family": family, "methods": len(seconds), "total": float(seconds.sum()),
                "median": float(np.median(seconds)), "longest": float(seconds.max()),
            }
        )  # fmt: skip
    return {"cost": rows}


SECTION = Section("cost", "Cost", _contents)

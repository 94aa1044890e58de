"""Say what each kind of method cost: time, and hours of CPUs and GPUs."""

from typing import Any

import numpy as np
import pandas as pd

from reid_ray.reporting.pooled import confirmations
from reid_ray.reporting.sections.section import Section, Subject

_KINDS = {
    "local features": "matching",
    "fusion": "matching",
    "untrained": "encoder",
    "pretrained": "encoder",
    "ArcFace": "trial",
    "Triplet": "trial",
    "confirmation": "confirmation",
}
_COLUMNS = ("family", "methods", "total", "median", "longest", "cpu_hours", "gpu_hours")


def _contents(subject: Subject) -> dict[str, Any]:
    table = cost(subject)
    return {
        "cost": table.to_dict("records"),
        "reserved": bool(subject.record.study.get("reserved")),
        "on_gpus": bool(table["gpu_hours"].gt(0).any()),
    }


def cost(subject: Subject) -> pd.DataFrame:
    """A row per family; `total`, `median`, `longest` in seconds; hours are missing if not known."""
    seconds: dict[str, list[float]] = {}
    for method in subject.methods:
        if method.family != "chance" and method.seconds:  # what could not be run cost nothing
            seconds.setdefault(method.family, []).append(method.seconds)
    for again in confirmations(subject.record):
        seconds.setdefault("confirmation", []).append(again.seconds)
    rows = []
    for family, spent in seconds.items():
        held = (subject.record.study.get("reserved") or {}).get(_KINDS.get(family, ""), {})
        total = float(sum(spent))
        rows.append(
            {
                "family": family,
                "methods": len(spent),
                "total": total,
                "median": float(np.median(spent)),
                "longest": max(spent),
                "cpu_hours": held.get("cpus", np.nan) * total / 3600,
                "gpu_hours": held.get("gpus", np.nan) * total / 3600,
            }
        )
    return pd.DataFrame(rows, columns=list(_COLUMNS))


SECTION = Section("cost", "Cost", _contents, lambda subject: {"cost.csv": cost(subject)}, folded=True)

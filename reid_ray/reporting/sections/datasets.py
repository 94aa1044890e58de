"""Compare the best methods on each collection by itself."""

from typing import Any

from reid_ray.reporting import tables
from reid_ray.reporting.pooled import standing
from reid_ray.reporting.sections.section import Section, Subject
from reid_ray.reporting.tables import known_queries

_COLUMNS = 5


def _contents(subject: Subject) -> dict[str, Any] | None:
    """Collections as rows, the best methods that stand for themselves and guessing as columns."""
    shown = standing(subject.methods)[:_COLUMNS]
    shown += [method for method in subject.methods if method.family == "chance"][:1]
    rows = []
    for name, part in subject.record.rows.groupby("dataset", sort=False):
        section = f"test/{name}"
        cells = [
            {m: method.figures.get(f"{section}/{m}") for m in ("top1", "top1_low", "top1_high")}
            if f"{section}/top1" in method.figures
            else None
            for method in shown
        ]
        if any(cells):
            queries = known_queries(part)
            domain = part["domain"].iloc[0]
            rows.append({"dataset": name, "domain": domain, "queries": queries, "cells": cells})
    names = ["Guessing" if method.family == "chance" else method.name for method in shown]
    return {"names": names, "rows": rows} if len(rows) > 1 else None


SECTION = Section(
    "datasets",
    "Per collection",
    _contents,
    lambda subject: {"datasets.csv": tables.datasets_table(subject.methods)},
)

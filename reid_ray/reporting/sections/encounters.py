"""Show what is left of the accuracy without references of the query's own encounter, and which side
the right references show.
"""

from typing import Any

import pandas as pd

from reid_ray.evaluation.metrics import OTHER_ENCOUNTER_SECTION
from reid_ray.reporting.pooled import candidates
from reid_ray.reporting.sections.section import Section, Subject

_MEASURES = ("top1", "top1_low", "top1_high", "top1_same_side", "top1_other_side", "queries")
_SHOWN = 10
"""Best methods of a domain on the page; the CSV has all."""


def encounters_table(subject: Subject) -> pd.DataFrame:
    """A row per domain and method that stands for itself, best first, where encounters or sides are
    known.

    Columns: `domain`, `method`, `family`, then the measures with all references, the same with
        `other_encounter_` before them, `answerable`, and `difference` in top-1. Shares are in 0..1;
        what is not known is missing.
    """
    rows = []
    for domain in subject.domains:
        for method in candidates(subject.methods, domain):
            row: dict[str, Any] = {"domain": domain, "method": method.name, "family": method.family}
            for prefix, section in ("", domain), ("other_encounter_", _other(domain)):
                for measure in _MEASURES:
                    row[prefix + measure] = method.figures.get(f"{section}/{measure}")
            row["answerable"] = method.figures.get(f"{_other(domain)}/answerable")
            rows.append(row)
    names = [prefix + measure for prefix in ("", "other_encounter_") for measure in _MEASURES]
    table = pd.DataFrame(rows, columns=["domain", "method", "family", *names, "answerable"])
    figures = table[[*names, "answerable"]].astype(float)
    table[figures.columns] = figures
    table["difference"] = table["other_encounter_top1"] - table["top1"]
    known = table[["other_encounter_top1", "top1_same_side"]].notna().any(axis=1)
    return table[known].reset_index(drop=True)


def changed(table: pd.DataFrame) -> pd.Series:
    """Of each row, whether its domain has a method whose figure is another without references of the
    query's own encounter."""
    return table["difference"].fillna(0).ne(0).groupby(table["domain"]).transform("any")


def _other(domain: str) -> str:
    return f"{OTHER_ENCOUNTER_SECTION}/{domain}"


def _contents(subject: Subject) -> dict[str, Any] | None:
    table = encounters_table(subject)
    if table.empty:
        return None
    shown = table.groupby("domain", sort=False).head(_SHOWN)
    asked = bool(table["other_encounter_top1"].notna().any())
    same = asked and not changed(table).any()
    sides = bool(table["top1_same_side"].notna().any())
    return {
        "rows": shown.to_dict("records"),
        "encounters": asked and not same,
        "same": same,
        "sides": sides,
        "answerable": table.groupby("domain", sort=False)["answerable"].first().to_dict(),
    }


SECTION = Section(
    "encounters",
    "Other encounters, other sides",
    _contents,
    lambda subject: {"encounters.csv": encounters_table(subject)},
)

"""Say how well methods tell unknown individuals from known ones. In: methods. Out: the report's table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting.pooled import Method, candidates

MEASURES = ("auroc", "baks", "baus", "geometric")
_ENDS = [f"{name}{end}" for name in MEASURES for end in ("", "_low", "_high")]


def open_set_table(methods: Sequence[Method]) -> pd.DataFrame:
    """Methods that stand for themselves and guessing, per domain with queries of unknown individuals.

    Columns: `domain`, `method`, `family`, `known_queries`, `new_queries`; `auroc`, `baks`, `baus`,
        `geometric` (mean of BAKS and BAUS), each with `_low` and `_high`; best geometric mean
        first within a domain.
    """
    rows: list[dict[str, Any]] = []
    for domain in DOMAINS:
        guessing = [m for m in methods if m.family == "chance" and m.finished]
        found = [m for m in candidates(methods, domain) if f"{domain}/auroc" in m.figures]
        found.sort(key=lambda m: -m.figures.get(f"{domain}/geometric", 0.0))
        found += [m for m in guessing if found and f"{domain}/auroc" in m.figures]
        for method in found:
            figures = method.figures
            rows.append(
                {
                    "domain": domain,
                    "method": method.name,
                    "family": method.family,
                    "known_queries": figures.get(f"{domain}/queries"),
                    "new_queries": figures.get(f"{domain}/unknown_queries"),
                    **{name: figures.get(f"{domain}/{name}") for name in _ENDS},
                }
            )
    columns = ["domain", "method", "family", "known_queries", "new_queries", *_ENDS]
    return pd.DataFrame(rows, columns=columns)


def open_set_rows(methods: Sequence[Method]) -> list[dict[Any, Any]]:
    """The same for the page."""
    return open_set_table(methods).to_dict("records")


def open_set_csv(methods: Sequence[Method]) -> dict[str, pd.DataFrame]:
    """By file name; nothing where no query shows an unknown individual."""
    table = open_set_table(methods)
    return {"open_set.csv": table} if len(table) else {}

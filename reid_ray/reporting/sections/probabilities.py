"""Say how much each method's probabilities are worth, on seen and on unseen species."""

from typing import Any

import pandas as pd

from reid_ray.reporting.pooled import selected_method, standing
from reid_ray.reporting.sections.section import Section, Subject

MEASURES = ("brier", "constant", "auroc", "ece", "predicted_confidence", "accuracy", "named_at_95")


def _contents(subject: Subject) -> dict[str, Any] | None:
    table = probabilities_table(subject)
    return {"judged": table.to_dict("records")} if len(table) else None


def probabilities_table(subject: Subject) -> pd.DataFrame:
    """A row per method and domain, of methods that stand for themselves: `MEASURES`, 0..1."""
    selected = selected_method(subject.record)
    shown = standing(subject.methods)
    if selected is not None and all(method.name != selected.name for method in shown):
        shown = [selected, *shown]
    rows = []
    for method in shown:
        for domain in ("seen", "unseen"):
            start = f"{domain}/probability/"
            if f"{start}brier" in method.figures:
                figures = {name: method.figures.get(start + name) for name in MEASURES}
                mark = selected is not None and method.name == selected.name
                rows.append({"method": method.name, "selected": mark, "domain": domain, **figures})
    return pd.DataFrame(rows, columns=["method", "selected", "domain", *MEASURES])


SECTION = Section(
    "probabilities",
    "Probabilities",
    _contents,
    lambda subject: {"probabilities.csv": probabilities_table(subject)},
)

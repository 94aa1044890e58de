"""Show what matching only the best candidates of an embedding costs in accuracy."""

from functools import partial
from typing import Any

from reid_ray.reporting.sections.section import Section, Subject, drawing
from reid_ray.reporting.shortlists import curves_figure, shortlist_curves


def _contents(subject: Subject) -> dict[str, Any] | None:
    table = shortlist_curves(subject.methods)
    if table.empty:
        return None
    return {
        "curves": drawing(partial(curves_figure, table), "shortlists"),
        "used": table[table["used"]].to_dict("records"),
    }


SECTION = Section(
    "shortlists",
    "Shortlists",
    _contents,
    lambda subject: {"shortlists.csv": shortlist_curves(subject.methods)},
)

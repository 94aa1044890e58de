"""Compare settings and models over collections, figure by figure as the paper's slides do."""

from functools import partial
from typing import Any

from reid_ray.config.collections import SOURCE
from reid_ray.reporting import over_collections as over
from reid_ray.reporting.boxes import FEWEST
from reid_ray.reporting.pooled import TRAINED
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    """Figures only with several collections: over one they would be dots."""
    methods = subject.methods
    published = over.published_table(methods).to_dict("records")
    several = len(over.seen_collections(methods)) > 1
    if not several and not published:
        return None
    figures = _figures(subject) if several else dict.fromkeys(_FIGURES, "")
    return {
        **figures,
        "spreads": over.sensitivity_table(methods).to_dict("records") if several else [],
        "published": published,
        "models": over.PUBLISHED,
        "source": SOURCE,
        "fewest": FEWEST,
    }


_FIGURES = ("compared", "per_collection", "arms", "sensitivity")


def _figures(subject: Subject) -> dict[str, Any]:
    methods = subject.methods
    arms = [
        {"family": family, "svg": svg}
        for family in TRAINED
        if (svg := drawing(partial(over.combinations, methods, family), f"combinations-{family.lower()}"))
    ]
    compared = drawing(partial(over.compared, methods), "compared")
    per_collection = drawing(partial(over.per_collection, methods), "per-collection")
    sensitivity = drawing(partial(over.sensitivity, methods), "sensitivity")
    return dict(zip(_FIGURES, (compared, per_collection, arms, sensitivity), strict=True))


SECTION = Section(
    "collections",
    "Over collections",
    _contents,
    lambda subject: {
        "sensitivity.csv": over.sensitivity_table(subject.methods),
        "published.csv": over.published_table(subject.methods),
    },
)

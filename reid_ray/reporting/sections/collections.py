"""Compare settings and models over collections, figure by figure as the paper's slides do."""

from functools import partial
from typing import Any

from reid_ray.config.collections import SOURCE
from reid_ray.reporting import over_collections as over
from reid_ray.reporting.boxes import FEWEST
from reid_ray.reporting.pooled import TRAINED
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    """Only with several collections: figures over one would be dots."""
    methods = subject.methods
    if len(over.seen_collections(methods)) < 2:
        published = over.published_table(methods)
        told = {"published": published.to_dict("records"), "models": over.PUBLISHED, "source": SOURCE}
        return told if len(published) else None
    arms = [
        {"family": family, "svg": svg}
        for family in TRAINED
        if (svg := drawing(partial(over.combinations, methods, family), f"combinations-{family.lower()}"))
    ]
    return {
        "compared": drawing(partial(over.compared, methods), "compared"),
        "per_collection": drawing(partial(over.per_collection, methods), "per-collection"),
        "arms": arms,
        "sensitivity": drawing(partial(over.sensitivity, methods), "sensitivity"),
        "spreads": over.sensitivity_table(methods).to_dict("records"),
        "published": over.published_table(methods).to_dict("records"),
        "models": over.PUBLISHED,
        "source": SOURCE,
        "fewest": FEWEST,
    }


SECTION = Section(
    "collections",
    "Over collections",
    _contents,
    lambda subject: {
        "sensitivity.csv": over.sensitivity_table(subject.methods),
        "published.csv": over.published_table(subject.methods),
    },
)

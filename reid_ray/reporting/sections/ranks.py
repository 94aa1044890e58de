"""Show how many suggestions a person has to look at: cumulative match curves."""

from functools import partial
from typing import Any

from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting import figures, tables
from reid_ray.reporting.pooled import standing
from reid_ray.reporting.sections.section import Section, Subject, drawing


def _contents(subject: Subject) -> dict[str, Any] | None:
    curves = {}
    for domain in DOMAINS:
        # One order for both domains, so that a method keeps its colour.
        shown = [m for m in standing(subject.methods) if f"{domain}/top1" in m.figures]
        if shown:
            draw = partial(figures.cmc_curves, shown, domain=domain)
            curves[domain] = drawing(draw, f"cmc-{domain}")
    return {"curves": curves} if curves else None


SECTION = Section(
    "ranks", "Ranked lists", _contents, lambda s: {"ranks.csv": tables.ranks_table(s.methods)}, folded=True
)

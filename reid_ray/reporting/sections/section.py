"""What a section of the report is, and what all of them are drawn from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
from markupsafe import Markup

from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting import tables
from reid_ray.reporting.pooled import Method, pooled_methods, standing
from reid_ray.reporting.svg import NARROW_PX, WIDE_PX
from reid_ray.runs.study import StudyRecord


@dataclass(frozen=True)
class Subject:
    """A study as sections look at it; what several of them need is made once."""

    record: StudyRecord

    @cached_property
    def methods(self) -> list[Method]:
        return pooled_methods(self.record)

    @cached_property
    def board(self) -> pd.DataFrame:
        return tables.leaderboard(self.record)

    @cached_property
    def audit(self) -> pd.DataFrame:
        return tables.dataset_audit(self.record)

    @property
    def trials(self) -> list[Method]:
        return [method for method in self.methods if method.is_trial]

    @property
    def best(self) -> Method | None:
        """The verdict's best: the first of all baselines and the selected trial."""
        return next(iter(standing(self.methods)), None)

    @property
    def domains(self) -> list[str]:
        return [d for d in DOMAINS if f"{d}_top1" in self.board] or ["seen"]


def _no_tables(_: Subject) -> Mapping[str, pd.DataFrame]:
    return {}


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: of its template `templates/<name>.html.j2`, and of its anchor in the page.
        contents: what the template prints, besides `study`, `domains` and the macros in `show`;
            None where there is nothing to say, which leaves the section out.
        tables: its tables by file name, for CSV; always written, so that scripts find them.
        folded: for engineers: shown on a click.
    """

    name: str
    title: str
    contents: Callable[[Subject], dict[str, Any] | None]
    tables: Callable[[Subject], Mapping[str, pd.DataFrame]] = _no_tables
    folded: bool = False


def drawing(draw: Callable[..., str], name: str) -> Markup:
    """Our own figure as markup, once for wide and once for narrow screens; "" where it is empty.

    Args:
        draw: called with `name` and `width_px`; matplotlib has escaped every name inside.
    """
    wide = draw(name=name, width_px=WIDE_PX)
    if not wide:
        return Markup("")
    narrow = draw(name=f"{name}-narrow", width_px=NARROW_PX)
    return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')

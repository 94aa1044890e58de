"""Group a study's results by method. In: `StudyRecord`. Out: one `Method` per setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from reid_ray.evaluation.metrics import known_only, summarise
from reid_ray.evaluation.predictions import pool
from reid_ray.evaluation.quality import probability_figures
from reid_ray.runs.methods import Family, Result
from reid_ray.runs.study import MethodRecord, StudyRecord

TRAINED: tuple[Family, ...] = ("ArcFace", "Triplet")


@dataclass(frozen=True)
class Method:
    """One setting, on one dataset or several: with scope `per_dataset`, its answers are put
    together.

    Attributes:
        records: its results, one per training scope.
        chosen: whether the study chose it among the trials.
    """

    name: str
    family: Family
    records: tuple[MethodRecord, ...]
    chosen: bool = False

    @property
    def results(self) -> list[Result]:
        return [record.result for record in self.records]

    @property
    def status(self) -> str:
        """`finished` (all scopes), `partial` (some), or what stopped the first unfinished one."""
        unfinished = [result.status for result in self.results if result.status != "finished"]
        if not unfinished:
            return "finished"
        return unfinished[0] if len(unfinished) == len(self.records) else "partial"

    @property
    def finished(self) -> bool:
        return self.status == "finished"

    @property
    def stopped(self) -> bool:
        """Whether the search ended it early; that is neither a figure nor a failure."""
        return self.status == "stopped"

    @property
    def is_trial(self) -> bool:
        return self.results[0].kind == "trial"

    @property
    def note(self) -> str:
        """What its results say, each once; a partial method also says how much is there."""
        notes = list(dict.fromkeys(result.note for result in self.results if result.note))
        if self.status == "partial":
            done = sum(result.status == "finished" for result in self.results)
            notes.insert(0, f"finished on {done} of {len(self.results)} datasets")
        return "; ".join(notes)

    @property
    def seconds(self) -> float:
        return sum(result.seconds for result in self.results)

    @cached_property
    def params(self) -> dict[str, Any]:
        """Settings that all its results share."""
        first, *others = (result.params for result in self.results)
        return {
            name: value for name, value in first.items() if all(other.get(name) == value for other in others)
        }

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        """Answers to queries whose animal has a reference; see `answers`."""
        return None if self.answers is None else known_only(self.answers)

    @cached_property
    def answers(self) -> pd.DataFrame | None:
        """All answers of finished results; a query that several answered counts once, the first."""
        tables = [
            record.predictions
            for record in self.records
            if record.predictions is not None and record.result.status == "finished"
        ]
        if not tables:
            return None
        return pool(tables).drop_duplicates("query", ignore_index=True)

    @cached_property
    def figures(self) -> dict[str, float]:
        """As `summarise` names them; nothing at all for a method that did not finish anywhere.

        Where there are no answers (chance is computed, not asked), the figures the results carry.
        """
        if self.answers is not None:
            figures = summarise(self.answers) | probability_figures(self.answers)
        else:
            figures = _weighted([r.metrics for r in self.results if r.status == "finished"])
        validated = [r.metrics["val/top1"] for r in self.results if "val/top1" in r.metrics]
        if validated and self.finished:
            figures["val/top1"] = float(np.mean(validated))
        return figures


def pooled_methods(record: StudyRecord) -> list[Method]:
    """Every trial and baseline, in planned order, without `confirmations` and `transfer`."""
    groups: dict[str, list[MethodRecord]] = {}
    for method in record.methods:
        if method.result.kind in ("trial", "baseline"):
            groups.setdefault(method.result.method, []).append(method)
    selected_trial = record.study.get("selected_trial")
    return [
        Method(
            name,
            records[0].result.family,
            tuple(records),
            chosen=selected_trial is not None and any(one.result.key == selected_trial for one in records),
        )
        for name, records in groups.items()
    ]


def selected_method(record: StudyRecord) -> Method | None:
    """The method to use, which the validation photos selected among all families."""
    key = record.study.get("selected")
    return next((m for m in pooled_methods(record) if any(r.key == key for r in m.results)), None)


def confirmations(record: StudyRecord) -> list[Method]:
    """The selected trial, trained once more under DDP."""
    return [
        Method(one.result.method, one.result.family, (one,))
        for one in record.methods
        if one.result.kind == "confirmation"
    ]


def selected_trial_of(methods: Sequence[Method]) -> Method | None:
    return next((method for method in methods if method.chosen), None)


def candidates(methods: Sequence[Method], domain: str) -> list[Method]:
    """Methods that stand for themselves on a domain, best first: all baselines and the chosen
    trial.

    The other trials were passed over, so comparing their best on the query photos would be choosing
    by the answers.
    """
    found = [
        method
        for method in methods
        if method.family != "chance"
        and method.finished
        and (method.chosen or not method.is_trial)
        and f"{domain}/top1" in method.figures
    ]
    return sorted(found, key=lambda method: -method.figures[f"{domain}/top1"])


def standing(methods: Sequence[Method]) -> list[Method]:
    """Candidates on seen species, best first; on unseen ones where no species is seen."""
    return candidates(methods, "seen") or candidates(methods, "unseen")


def chance_of(methods: Sequence[Method], section: str) -> float | None:
    """Expected top-1 of guessing, in a section such as `seen` or `test/<dataset>`."""
    for method in methods:
        if method.family == "chance" and f"{section}/top1" in method.figures:
            return method.figures[f"{section}/top1"]
    return None


def _weighted(figures: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean over results, weighted by their queries; `queries` itself is summed."""
    if len(figures) <= 1:
        return dict(figures[0]) if figures else {}
    joint: dict[str, float] = {}
    for name in dict.fromkeys(name for part in figures for name in part):
        section, _, measure = name.rpartition("/")
        having = [part for part in figures if name in part]
        weights = [part.get(f"{section}/queries", 1.0) for part in having]
        if measure in ("queries", "unknown_queries"):
            joint[name] = sum(weights)
        else:
            joint[name] = float(np.average([part[name] for part in having], weights=weights))
    return joint

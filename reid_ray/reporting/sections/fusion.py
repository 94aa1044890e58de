"""Put each fusion beside its parts."""

from typing import Any

import pandas as pd

from reid_ray.config.fusion import SELECTED_TRIAL
from reid_ray.reporting import verdict
from reid_ray.reporting.pooled import Method, selected_trial_of
from reid_ray.reporting.sections.section import Section, Subject


def _contents(subject: Subject) -> dict[str, Any] | None:
    fusions = [m for m in subject.methods if m.family == "fusion" and m.finished]
    if not fusions:
        return None
    return {"compared": fused_and_parts(subject).to_dict("records")}


def fused_and_parts(subject: Subject) -> pd.DataFrame:
    """A row per fusion, part and domain: top-1 of both, their difference with its 95 % interval
    (animals resampled whole), and McNemar's mid-p over animals.
    """
    named = {method.name: method for method in subject.methods}
    if (selected_trial := selected_trial_of(subject.methods)) is not None:
        named[SELECTED_TRIAL] = selected_trial
    rows = []
    for fusion in subject.methods:
        if fusion.family != "fusion" or not fusion.finished:
            continue
        for part in str(fusion.params.get("parts", "")).split(" + "):
            for domain in _domains(fusion):
                row = _row(fusion, named.get(part), part, domain)
                rows += [row] if row else []
    columns = [
        "fusion",
        "part",
        "domain",
        "fused_top1",
        "part_top1",
        "difference",
        "low",
        "high",
        "p",
        "queries",
    ]
    return pd.DataFrame(rows, columns=columns)


def _row(fusion: Method, part: Method | None, name: str, domain: str) -> dict[str, Any] | None:
    test = None if part is None else verdict.compare(fusion, part, domain)
    if test is None or part is None:
        return None
    ahead = test.better == fusion.name
    gain = test.difference if ahead else -test.difference
    low, high = (test.low, test.high) if ahead else (-test.high, -test.low)
    fused = fusion.figures[f"{domain}/top1"]
    return {
        "fusion": fusion.name,
        "part": name,
        "domain": domain,
        "fused_top1": fused,
        "part_top1": part.figures[f"{domain}/top1"],
        "difference": gain,
        "low": low,
        "high": high,
        "p": test.p,
        "queries": test.queries,
    }


def _domains(method: Method) -> list[str]:
    return [d for d in ("seen", "unseen") if f"{d}/top1" in method.figures]


SECTION = Section(
    "fusion", "Methods joined", _contents, lambda subject: {"fusion.csv": fused_and_parts(subject)}
)

"""Compare trainings that some species were withheld from, on the same queries.

In: a study's results. Out: one table per choice of setting, with paired tests, and all of them as a frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from reid_ray.config.transfer import PAPER_LOSS, PAPER_LR, VARIANTS
from reid_ray.evaluation.metrics import chance_metrics
from reid_ray.reporting.pooled import Method, candidates, pooled_methods
from reid_ray.reporting.verdict import Comparison, compare
from reid_ray.runs.methods import Result
from reid_ray.runs.study import MethodRecord, StudyRecord
from reid_ray.splits.domains import variant_rows
from reid_ray.splits.learnable import trained_on

NAMES = {
    "all": "Trained on everything, these collections included",
    "same_domain": "Trained without these collections, but on others of their species",
    "other_domains": "Trained on other species only",
}
"""What a variant is called where people read."""
_SHORT = {
    "all": "training on everything",
    "same_domain": "training without these collections",
    "other_domains": "training on other species only",
}
"""The same inside a sentence."""

_MEASURES = ("top1", "top1_low", "top1_high", "balanced_top1", "mAP", "queries")
_ASKED = "seen"
"""All that is compared here is put into one domain, whatever each training saw of it."""


@dataclass(frozen=True)
class Table:
    """The variants of one setting, or of each variant's own best, and what they are compared with.

    Attributes:
        setting: the method's name, or how each variant's was chosen.
        variants: those with figures come with a `Method`, the others with None.
        context: methods that were not trained here, on the same queries, best first.
        comparisons: variants in pairs, by McNemar.
    """

    setting: str
    variants: tuple[tuple[Result, Method | None], ...]
    context: tuple[Method, ...]
    comparisons: tuple[Comparison, ...]


def transfer_tables(record: StudyRecord) -> list[Table]:
    """The selected trial's first, then the paper's best, then each variant's own choice from the grid."""
    trained = [one for one in record.methods if one.result.kind == "transfer"]
    if not trained:
        return []
    asked = _asked(record)
    context = tuple(_context(record, asked))
    selected_trial = next(
        (m.result.method for m in record.methods if m.result.key == record.study.get("selected_trial")), None
    )
    wanted = (record.study["config"].get("transfer") or {}).get("settings", ())
    tables = []
    for name in dict.fromkeys(one.result.method for one in trained):
        rows = [one for one in trained if one.result.method == name]
        if ("selected_trial" in wanted and name == selected_trial) or (
            "paper" in wanted and _is_papers(rows[0].result)
        ):
            tables.append(_table(name, rows, context))
    if "grid" in wanted:
        chosen = [_own_choice([o for o in trained if o.result.params["variant"] == v]) for v in VARIANTS]
        title = "each training's own best setting, by its own validation photos"
        tables.append(_table(title, [one for one in chosen if one is not None], context))
    return tables


def transfer_frame(record: StudyRecord) -> pd.DataFrame:
    """Every such training, and every method on the same queries, as CSV shows them."""
    rows = [_row(one.result, _on_asked(one)) for one in record.methods if one.result.kind == "transfer"]
    if rows:
        rows += [
            {"method": m.name, "family": m.family, "status": "finished", **_figures(m)}
            for m in _context(record, _asked(record))
        ]
    columns = ["variant", "method", "family", "status", "trained_on", *_MEASURES, "val_top1", "note"]
    return pd.DataFrame(rows, columns=columns)


def transfer_lines(record: StudyRecord) -> list[str]:
    """For the terminal: a line per training."""
    lines = []
    for table in transfer_tables(record):
        lines += ["", f"With species withheld ({', '.join(_asked(record))}), {table.setting}:"]
        for result, method in table.variants:
            shown: str = result.status
            if method is not None:
                figures = _figures(method)
                low, top1, high = (100 * figures[name] for name in ("top1_low", "top1", "top1_high"))
                shown = f"{top1:.1f} % ({low:.1f}-{high:.1f})"
            lines.append(f"  {NAMES[str(result.params['variant'])]:<66} {shown:>20}")
    return lines


def transfer_section(record: StudyRecord) -> dict[str, Any]:
    """What the page prints; without `tables` there is nothing to say."""
    tables = transfer_tables(record)
    if not tables:
        return {"tables": []}
    asked = _asked(record)
    share = record.study["config"]["data"]["split"].get("validation_share")
    return {
        "asked": asked,
        "settings": (record.study["config"].get("transfer") or {}).get("settings", ()),
        "validated": share is None or share > 0,
        "tables": [
            {
                "setting": table.setting,
                "rows": [
                    _row(result, method)
                    | {"name": NAMES[str(result.params["variant"])]}
                    | _learned(record.rows, asked, result)
                    for result, method in table.variants
                ],
                "context": [{"method": m.name, "family": m.family, **_figures(m)} for m in table.context],
                "comparisons": [_sentence(comparison) for comparison in table.comparisons],
            }
            for table in tables
        ],
    }


def _sentence(comparison: Comparison) -> str:
    text = str(comparison)
    return text[0].upper() + text[1:]


def _asked(record: StudyRecord) -> list[str]:
    """Datasets whose queries are asked, in the order of the rows."""
    scopes = {one.result.scope for one in record.methods if one.result.kind == "transfer"}
    names = {name for scope in scopes for name in scope.split("+")}
    return [str(name) for name in pd.unique(record.rows["dataset"]) if name in names]


def _table(setting: str, rows: Sequence[MethodRecord], context: tuple[Method, ...]) -> Table:
    variants = tuple((one.result, _on_asked(one)) for one in rows)
    measured = [method for _, method in variants if method is not None]
    pairs = [compare(a, b, _ASKED) for a, b in combinations(measured, 2)]
    return Table(setting, variants, context, tuple(pair for pair in pairs if pair is not None))


def _on_asked(one: MethodRecord) -> Method | None:
    """A finished training as a method, named by what it learned from."""
    if one.result.status != "finished" or one.predictions is None:
        return None
    moved = replace(one, predictions=one.predictions.assign(domain=_ASKED))
    return Method(_SHORT[str(one.result.params["variant"])], one.result.family, (moved,))


def _context(record: StudyRecord, asked: Sequence[str]) -> list[Method]:
    """Baselines on the asked datasets alone, best first, then guessing."""
    found, guessing = [], []
    for method in pooled_methods(record):
        if method.family == "chance":
            rows = record.rows[record.rows["dataset"].isin(asked)].assign(domain=_ASKED)
            result = method.results[0].but(metrics=chance_metrics(rows))
            guessing.append(Method(method.name, method.family, (MethodRecord(result, None, []),)))
        elif not method.is_trial and method.finished and method.predictions is not None:
            part = method.predictions[method.predictions["dataset"].isin(asked)]
            moved = MethodRecord(method.results[0], part.assign(domain=_ASKED), [])
            found.append(Method(method.name, method.family, (moved,)))
    return candidates(found, _ASKED) + guessing


def _own_choice(rows: Sequence[MethodRecord]) -> MethodRecord | None:
    """The best on the variant's own validation photos; the earlier one on a tie."""
    judged = [one for one in rows if one.result.status == "finished"]
    if not judged:
        return rows[0] if rows else None
    return max(judged, key=lambda one: one.result.metrics.get("val/top1", -1.0))


def _is_papers(result: Result) -> bool:
    params = result.params
    return (
        result.family == "ArcFace"
        and params.get("margin") == PAPER_LOSS.margin_rad
        and params.get("scale") == PAPER_LOSS.scale
        and params.get("lr") == PAPER_LR
    )


def _row(result: Result, method: Method | None) -> dict[str, Any]:
    return {
        "variant": result.params["variant"],
        "method": result.method,
        "family": result.family,
        "status": result.status,
        "trained_on": result.params.get("trained_on"),
        "val_top1": result.metrics.get("val/top1"),
        "note": result.note,
        **(_figures(method) if method else dict.fromkeys(_MEASURES)),
    }


def _figures(method: Method) -> dict[str, Any]:
    return {name: method.figures.get(f"{_ASKED}/{name}") for name in _MEASURES}


def _learned(rows: pd.DataFrame, asked: Sequence[str], result: Result) -> dict[str, Any]:
    """Of how many photos and animals a training could learn, and of which species groups."""
    seen = variant_rows(rows, asked, result.params["variant"])  # type: ignore[arg-type]
    learned = seen[trained_on(seen)]
    return {
        "photos": len(learned),
        "animals": learned[["dataset", "identity"]].drop_duplicates().shape[0],
        "groups": ", ".join(map(str, pd.unique(learned["group"]))),
        "datasets": ", ".join(map(str, pd.unique(learned["dataset"]))),
    }

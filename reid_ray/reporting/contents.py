"""Gather what the report's page says. In: study and methods. Out: values for the templates."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import yaml
from markupsafe import Markup

from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting import boxes, figures, tables, verdict
from reid_ray.reporting.leaks import leak_contents
from reid_ray.reporting.open_set import open_set_rows
from reid_ray.reporting.pooled import (
    TRAINED,
    Method,
    chosen_trial,
    confirmations,
    standing,
)
from reid_ray.runs.study import StudyRecord

_MANY = 25
"""More methods than this: baselines and the best trials are shown, all on a click."""
_BEST_TRIALS = 12
_QUARANTINE_ROWS = 50
_DATASET_COLUMNS = 5

_SECTIONS = (
    ("verdict", "Verdict"), ("leaderboard", "Leaderboard"), ("transfer", "Seen and unseen species"),
    ("datasets", "Per collection"), ("settings", "Which settings matter"),
    ("ranks", "Ranked lists"), ("open_set", "New animals"), ("leaks", "Leaks"),
    ("animals", "Per animal"), ("examples", "Right and wrong"), ("training", "Training"),
    ("confirmation", "Confirmation under DDP"), ("data", "Photos"), ("cost", "Cost"),
    ("provenance", "Provenance"), ("reading", "How to read this"),
)  # fmt: skip


def page_contents(record: StudyRecord, methods: list[Method]) -> dict[str, Any]:
    """Everything the templates print."""
    board = tables.leaderboard(record)
    leaders, everyone = _leaderboard_rows(board)
    audit = tables.dataset_audit(record)
    chosen = chosen_trial(methods) or next(iter(standing(methods)), None)
    return {
        "study": {**record.study, "seconds": float(record.study.get("seconds") or 0.0)},
        "started": _day(record.study.get("started_at")),
        "verdicts": verdict.domain_verdicts(methods),
        "choice": verdict.choice_sentence(record.study) if _trials(methods) else "",
        "passed_over": verdict.passed_over(methods),
        "warnings": list(record.study.get("warnings") or ()),
        "totals": _totals(audit, methods),
        "domains": [d for d in DOMAINS if f"{d}_top1" in board] or ["seen"],
        "leaders": leaders,
        "everyone": everyone,
        "not_run": _not_run(record),
        "open_set": open_set_rows(methods),
        **leak_contents(record.study),
        "transfer": tables.seen_unseen(methods).to_dict("records"),
        "per_dataset": _per_dataset(record, methods),
        "arms": _arms(methods),
        "ablation": tables.ablation(methods).to_dict("records"),
        "figures": _figures(board, methods, chosen),
        "animals_method": chosen.name if chosen else "",
        "confirmed": _confirmed(record, chosen_trial(methods)),
        "audit": audit.to_dict("records"),
        "quarantine": record.quarantine.head(_QUARANTINE_ROWS).astype(str).to_dict("records"),
        "quarantine_total": len(record.quarantine),
        "cost": _cost(methods),
        "facts": _facts(record),
        "config": yaml.safe_dump(
            record.study.get("config"), sort_keys=False, allow_unicode=True, width=100
        ),
    }


def sections(context: Mapping[str, Any], gallery: bool) -> list[tuple[str, str]]:
    """Those sections that have something to say, in order."""
    drawn = context["figures"]
    empty = {
        "transfer": len(context["domains"]) < 2,
        "datasets": len(context["per_dataset"]["rows"]) < 2,
        "settings": not (drawn["backbones"] or context["arms"]),
        "ranks": not drawn["cmc"],
        "animals": not drawn["animals"],
        "examples": not gallery,
        "training": not drawn["training"],
        "confirmation": not context["confirmed"],
        "open_set": not context["open_set"],
        "leaks": not (context["leaks_sought"] or context["background"]),
    }
    return [(anchor, title) for anchor, title in _SECTIONS if not empty.get(anchor, False)]


def _trials(methods: Sequence[Method]) -> list[Method]:
    return [method for method in methods if method.is_trial]


def _day(started_at: Any) -> str:
    if not isinstance(started_at, int | float) or not started_at:
        return ""
    day = datetime.datetime.fromtimestamp(started_at, datetime.UTC)
    return f"{day.day} {day:%B %Y}"


def _totals(audit: pd.DataFrame, methods: Sequence[Method]) -> dict[str, int]:
    real = [method for method in methods if method.family != "chance"]
    finished = sum(method.finished for method in real)
    return {
        "photos": int(audit["photos"].sum()) if len(audit) else 0,
        "identities": int(audit["identities"].sum()) if len(audit) else 0,
        "datasets": len(audit),
        "finished": finished,
        "unfinished": len(real) - finished,
    }


def _not_run(record: StudyRecord) -> int:
    present = {method.result.key for method in record.methods}
    return len(set(record.study.get("methods") or ()) - present)


def _leaderboard_rows(
    board: pd.DataFrame,
) -> tuple[list[dict[Any, Any]], list[dict[Any, Any]] | None]:
    """Rows to show at once, and all rows where those are not all."""
    rows = board.to_dict("records")
    for row in rows:
        counts = [row.get(f"{domain}_queries") for domain in DOMAINS]
        row["queries"] = int(sum(c for c in counts if c is not None and c == c))
        row["measured"] = row["status"] in ("finished", "partial")
        if row["status"] == "partial":
            row["method"] = f"{row['method']} ({row['note']})"
    if len(rows) <= _MANY:
        return rows, None
    trials = [row for row in rows if row["family"] in TRAINED and not row["chosen"]]
    kept = {id(row) for row in trials[:_BEST_TRIALS]}
    trial_ids = {id(row) for row in trials}
    return [row for row in rows if id(row) in kept or id(row) not in trial_ids], rows


def _per_dataset(record: StudyRecord, methods: Sequence[Method]) -> dict[str, Any]:
    """Collections as rows, the best methods that stand for themselves and guessing as columns."""
    shown = standing(methods)[:_DATASET_COLUMNS]
    shown += [method for method in methods if method.family == "chance"][:1]
    rows = []
    for name, part in record.rows.groupby("dataset", sort=False):
        section = f"test/{name}"
        cells = [
            {m: method.figures.get(f"{section}/{m}") for m in ("top1", "top1_low", "top1_high")}
            if f"{section}/top1" in method.figures
            else None
            for method in shown
        ]
        if any(cells):
            queries = int((part["split"] == "query").sum())
            domain = part["domain"].iloc[0]
            rows.append({"dataset": name, "domain": domain, "queries": queries, "cells": cells})
    return {"methods": [method.name for method in shown], "rows": rows}


def _arms(methods: Sequence[Method]) -> list[dict[str, Any]]:
    arms = []
    for family in TRAINED:
        svg = boxes.hyper_parameters(methods, family, name=f"settings-{family.lower()}")
        if svg:
            arms.append({"family": family, "svg": _svg(svg)})
    return arms


def _figures(board: pd.DataFrame, methods: list[Method], chosen: Method | None) -> dict[str, Any]:
    cmc = {}
    for domain in DOMAINS:
        # One order for both domains, so that a method keeps its colour.
        shown = [m for m in standing(methods) if f"{domain}/top1" in m.figures]
        if shown:
            cmc[domain] = _svg(figures.cmc_curves(shown, domain=domain, name=f"cmc-{domain}"))
    histories = any(m.is_trial and m.finished and m.records[0].history for m in methods)
    finished = board[(board["status"] == "finished") & (board["family"] != "chance")]
    return {
        "forest": _svg(figures.forest(board)) if len(finished) else "",
        "backbones": _svg(boxes.backbone_by_loss(methods)),
        "cmc": cmc,
        "training": _svg(figures.training_curves(methods)) if histories else "",
        "animals": _svg(figures.identity_bars(chosen)) if chosen else "",
    }


def _svg(text: str) -> Markup:
    """Our own drawing: matplotlib has escaped every name inside."""
    return Markup(text)


def _confirmed(record: StudyRecord, chosen: Method | None) -> list[dict[str, Any]]:
    """The chosen trial's figures beside those of its confirmation."""
    pairs = []
    for again in confirmations(record):
        if chosen is None:
            continue
        same = [r for r in chosen.records if r.result.scope == again.results[0].scope]
        first = Method(chosen.name, chosen.family, tuple(same) or chosen.records)
        rows = [
            {"label": label, "first": first.figures[name], "again": again.figures[name],
             "difference": again.figures[name] - first.figures[name]}
            for label, name in (
                ("Top-1, validation photos", "val/top1"), ("Top-1, seen species", "seen/top1"),
                ("mAP, seen species", "seen/mAP"), ("Top-1, unseen species", "unseen/top1"),
            )
            if name in first.figures and name in again.figures
        ]  # fmt: skip
        domain = "seen" if "seen/top1" in first.figures else "unseen"
        pairs.append(
            {"name": again.name, "note": again.note, "status": again.status, "rows": rows,
             "domain": domain, "test": verdict.compare(first, again, domain),
             "losses": _first_losses(first, again)}
        )  # fmt: skip
    return pairs


def _first_losses(first: Method, again: Method) -> dict[str, float] | None:
    """Mean training loss of the first epoch of both, before rounding could grow."""
    histories = first.records[0].history, again.records[0].history
    if not all(history and "loss" in history[0] for history in histories):
        return None
    alone, under_ddp = (history[0]["loss"] for history in histories)
    return {
        "first": alone,
        "again": under_ddp,
        "apart": abs(under_ddp / alone - 1) if alone else 0.0,
    }


def _cost(methods: Sequence[Method]) -> list[dict[str, Any]]:
    rows = []
    for family in dict.fromkeys(m.family for m in methods if m.family != "chance"):
        seconds = np.array([m.seconds for m in methods if m.family == family])
        rows.append(
            {
                "family": family, "methods": len(seconds), "total": float(seconds.sum()),
                "median": float(np.median(seconds)), "longest": float(seconds.max()),
            }
        )  # fmt: skip
    return rows


def _facts(record: StudyRecord) -> list[tuple[str, str]]:
    """Provenance as pairs; nested maps become `name: value` lists."""
    facts = []
    for name, value in (record.study.get("provenance") or {}).items():
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {tables.shown(item)}" for key, item in value.items())
        elif isinstance(value, list | tuple):
            text = ", ".join(map(str, value))
        else:
            text = tables.shown(value)
        facts.append((name.replace("_", " "), text or "\u2013"))
    return facts

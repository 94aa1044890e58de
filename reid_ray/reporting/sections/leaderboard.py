"""Rank all methods by their accuracy, with intervals; many trials are folded away."""

from functools import partial
from typing import Any

import pandas as pd

from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting import figures
from reid_ray.reporting.pooled import TRAINED
from reid_ray.reporting.sections.section import Section, Subject, drawing

_MANY = 25
"""More methods than this: baselines and the best trials are shown, all on a click."""
_BEST_TRIALS = 12


def _contents(subject: Subject) -> dict[str, Any]:
    board = subject.board
    leaders, everyone = _rows(board)
    finished = board[(board["status"] == "finished") & (board["family"] != "chance")]
    present = {method.result.key for method in subject.record.methods}
    return {
        "forest": drawing(partial(figures.forest, board), "forest") if len(finished) else "",
        "leaders": leaders,
        "everyone": everyone,
        "not_run": len(set(subject.record.study.get("methods") or ()) - present),
    }


def _rows(board: pd.DataFrame) -> tuple[list[dict[Any, Any]], list[dict[Any, Any]] | None]:
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


SECTION = Section("leaderboard", "Leaderboard", _contents, lambda subject: {"leaderboard.csv": subject.board})

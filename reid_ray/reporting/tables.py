"""The report's tables, as data frames. In: methods of a study. Out: frames for page and CSV."""

import io
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from reid_ray.evaluation.intervals import animals_mean
from reid_ray.evaluation.metrics import DOMAINS, cmc, identity_accuracy
from reid_ray.reporting.pooled import Method, candidates, pooled_methods, standing
from reid_ray.reporting.text import visible
from reid_ray.runs.study import StudyRecord

_NUMBER = re.compile(r"[+-]?[0-9]{1,30}(?:[.,][0-9]{1,30})?")
RANKS = (1, 2, 3, 5, 10, 20)
HYPER_PARAMETERS = ("backbone", "lr", "margin", "scale", "mining")
_MEASURES = (
    "top1",
    "top1_low",
    "top1_high",
    "top5",
    "top5_low",
    "top5_high",
    "balanced_top1",
    "balanced_top1_low",
    "balanced_top1_high",
    "balanced_top5",
    "balanced_top5_low",
    "balanced_top5_high",
    "mAP",
    "mAP_low",
    "mAP_high",
    "queries",
)


def leaderboard(record: StudyRecord) -> pd.DataFrame:
    """One row per method, best top-1 on seen species first; those without a result last, with their
    note.

    Columns: `method`, `family`, `chosen`, `status`; per domain `<domain>_top1`, `_top1_low`,
        `_top1_high`, in the same way `_top5`, `_balanced_top1`, `_balanced_top5`, `_mAP`, and
        `_queries`; `val_top1` (what the choice was made by), `seconds`, `params`, `note`. Shares
        are in 0..1; what was not measured is missing, never 0.
    """
    rows = [_leaderboard_row(method) for method in pooled_methods(record)]
    domains = [d for d in DOMAINS if any(f"{d}_top1" in row for row in rows)] or ["seen"]
    columns = ["method", "family", "chosen", "status"]
    columns += [f"{domain}_{measure}" for domain in domains for measure in _MEASURES]
    columns += ["val_top1", "seconds", "params", "note"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    first = f"{domains[0]}_top1"
    table["_place"] = table["status"].map({"finished": 0, "partial": 1}).fillna(2)
    table = table.sort_values(["_place", first], ascending=[True, False], kind="stable", na_position="last")
    return table.drop(columns="_place").reset_index(drop=True)


def _leaderboard_row(method: Method) -> dict[str, Any]:
    row: dict[str, Any] = {
        "method": method.name,
        "family": method.family,
        "chosen": method.chosen,
        "status": method.status,
        "seconds": method.seconds,
        "params": ", ".join(f"{name}={shown(value)}" for name, value in method.params.items()),
        "note": method.note,
        "val_top1": method.figures.get("val/top1"),
    }
    for domain in DOMAINS:
        if f"{domain}/top1" in method.figures:
            for measure in _MEASURES:
                row[f"{domain}_{measure}"] = method.figures.get(f"{domain}/{measure}")
    return row


def datasets_table(methods: Sequence[Method]) -> pd.DataFrame:
    """Top-1 of each method on each dataset, long: a row per pair that was measured."""
    rows = []
    for method in methods:
        for name in method.figures:
            section, _, measure = name.rpartition("/")
            if measure == "top1" and section.startswith("test/"):
                rows.append(
                    {
                        "method": method.name,
                        "family": method.family,
                        "dataset": section.removeprefix("test/"),
                        **{m: method.figures.get(f"{section}/{m}") for m in _MEASURES},
                    }
                )
    return pd.DataFrame(rows, columns=["method", "family", "dataset", *_MEASURES])


def seen_unseen(methods: Sequence[Method]) -> pd.DataFrame:
    """Top-1 on seen and unseen species side by side: methods that stand for themselves, chance."""
    standing = [m for m in methods if m.family == "chance" and m.finished]
    standing = candidates(methods, "seen") + standing
    rows = []
    for method in standing:
        row: dict[str, Any] = {"method": method.name, "family": method.family}
        for domain in DOMAINS:
            for measure in ("top1", "top1_low", "top1_high", "queries"):
                row[f"{domain}_{measure}"] = method.figures.get(f"{domain}/{measure}", np.nan)
        row["difference"] = row["unseen_top1"] - row["seen_top1"]
        rows.append(row)
    columns = ["method", "family"]
    columns += [f"{d}_{m}" for d in DOMAINS for m in ("top1", "top1_low", "top1_high", "queries")]
    return pd.DataFrame(rows, columns=[*columns, "difference"])


def setting_top1(method: Method) -> float | None:
    """What box plots show of one setting: its median top-1 over the datasets of seen species."""
    predictions = method.predictions
    if not method.finished or predictions is None:
        return None
    seen = predictions[predictions["domain"] == "seen"]
    return float(seen.groupby("dataset")["correct"].mean().median()) if len(seen) else None


def ablation(methods: Sequence[Method]) -> pd.DataFrame:
    """How each hyper-parameter's values did, per loss: a row per (family, parameter, value).

    Columns: `family`, `parameter`, `value`, `settings` (finished), `failed`, `stopped` (early, by the
        search), `q1`, `median`, `q3`, `best`; figures over settings of `setting_top1`.
    """
    rows = []
    for family, parameter, value in _varied(methods):
        having = _having(methods, family, parameter, value)
        points = np.array([p for p in map(setting_top1, having) if p is not None])
        stopped = sum(m.stopped for m in having)
        quartiles = np.quantile(points, [0.25, 0.5, 0.75]) if points.size else [np.nan] * 3
        rows.append(
            {
                "family": family,
                "parameter": parameter,
                "value": shown(value),
                "settings": points.size,
                "failed": len(having) - points.size - stopped,
                "stopped": stopped,
                "q1": quartiles[0],
                "median": quartiles[1],
                "q3": quartiles[2],
                "best": points.max() if points.size else np.nan,
            }
        )
    columns = ["family", "parameter", "value", "settings", "failed", "stopped"]
    return pd.DataFrame(rows, columns=[*columns, "q1", "median", "q3", "best"])


def _varied(methods: Sequence[Method]) -> list[tuple[str, str, Any]]:
    """(family, parameter, value) wherever there was a choice, values in natural order."""
    found: list[tuple[str, str, Any]] = []
    for family in dict.fromkeys(m.family for m in methods if m.is_trial):
        for parameter in HYPER_PARAMETERS:
            values = {
                m.params[parameter]
                for m in methods
                if m.is_trial and m.family == family and parameter in m.params
            }
            ordered = sorted(values, key=lambda v: (isinstance(v, str), v))
            found += [(family, parameter, value) for value in ordered if len(values) > 1]
    return found


def _having(methods: Sequence[Method], family: str, parameter: str, value: Any) -> list[Method]:
    return [m for m in methods if m.is_trial and m.family == family and m.params.get(parameter) == value]


def per_identity(methods: Sequence[Method]) -> pd.DataFrame:
    """Accuracy of each method that stands for itself on each animal; a row per pair."""
    tables = []
    for method in standing(methods):
        if method.predictions is not None:
            table = identity_accuracy(method.predictions)
            table.insert(0, "method", method.name)
            tables.append(table)
    columns = ["method", "dataset", "domain", "identity", "queries", "correct", "top1"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def answers(methods: Sequence[Method], rows: pd.DataFrame) -> pd.DataFrame:
    """The answers of methods that stand for themselves: a row per query, with its best match.

    Args:
        rows: of the study, from which photos have their paths.
    """
    path_of = dict(zip(rows["key"], rows["path"], strict=True)) if "path" in rows else {}
    columns = ["query", "dataset", "domain", "identity", "known", "predicted", "correct"]
    columns += ["first_correct", "threshold"]
    parts = []
    for method in standing(methods):
        if method.answers is not None:
            table = method.answers.reindex(columns=columns)
            table.insert(0, "method", method.name)
            first = [(list(keys) or [""])[0] for keys in method.answers["top_keys"]]
            scores = [(list(scores) or [np.nan])[0] for scores in method.answers["top_scores"]]
            table = table.assign(best_reference=first, score=scores, path=table["query"].map(path_of))
            parts.append(table.assign(best_reference_path=[path_of.get(key, "") for key in first]))
    columns = ["method", *columns, "best_reference", "score", "path", "best_reference_path"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def ranks_table(methods: Sequence[Method]) -> pd.DataFrame:
    """CMC of methods that stand for themselves, long: `share` of queries with a right reference
    among the first `rank`, with its interval over animals."""
    rows = []
    for method in standing(methods):
        if method.predictions is None:
            continue
        for domain, part in method.predictions.groupby("domain", sort=False):
            animals = part["dataset"].astype(str) + "\0" + part["identity"].astype(str)
            first = part["first_correct"].to_numpy(np.int64)
            for rank, share in zip(RANKS, cmc(first, RANKS), strict=True):
                low, high = animals_mean((first >= 1) & (first <= rank), animals)
                rows.append((method.name, domain, rank, share, low, high))
    return pd.DataFrame(rows, columns=["method", "domain", "rank", "share", "low", "high"])


def dataset_audit(record: StudyRecord) -> pd.DataFrame:
    """What each collection holds: photos, identities, the split, singletons, those quarantined."""
    quarantined: dict[Any, int] = {}
    if len(record.quarantine):
        quarantined = record.quarantine["dataset"].value_counts().to_dict()
    rows = []
    for name, part in record.rows.groupby("dataset", sort=False):
        known = part[part["identity"] != "unknown"]
        per_animal = known["identity"].value_counts()
        validation = part.get("validation", pd.Series(False, index=part.index)).astype(bool)
        rows.append(
            {
                "dataset": name,
                "group": ", ".join(pd.unique(part["group"])),
                "domain": ", ".join(pd.unique(part["domain"])),
                "photos": len(part),
                "identities": len(per_animal),
                "unknown": len(part) - len(known),
                "singletons": int((per_animal == 1).sum()),
                "reference": int((part["split"] == "reference").sum()),
                "train": int((part["split"] == "train").sum()),
                "validation": int(validation.sum()),
                "query": int((part["split"] == "query").sum()),
                "new": int((part["split"] == "query").sum()) - known_queries(part),
                "quarantined": int(quarantined.get(name, 0)),
            }
        )
    return pd.DataFrame(rows)


def known_queries(part: pd.DataFrame) -> int:
    """Query photos, of one collection's rows, that show an animal with a reference."""
    references = part.loc[part["split"] == "reference", "identity"]
    return int(part.loc[part["split"] == "query", "identity"].isin(references).sum())


def shown(value: Any) -> str:
    """A setting as people write it: 0.001, not 1.0000e-03."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def to_csv(table: pd.DataFrame) -> str:
    """CSV that a spreadsheet cannot run: text that begins like a formula gets an apostrophe.

    Hidden characters, which could begin a line or turn it around, are written as their codes. Only
    text is touched, and of it only what is dangerous: `-7` is a number to every spreadsheet. Floats keep six
    digits. What a program is to read is written by `to_plain_csv`.
    """
    safe = table.copy()
    for column in safe.columns:
        if not pd.api.types.is_numeric_dtype(safe[column]):
            safe[column] = [_disarmed(value) for value in safe[column]]
    safe.columns = [_disarmed(str(name)) for name in safe.columns]
    return to_plain_csv(safe)


def to_plain_csv(table: pd.DataFrame) -> str:
    """CSV for programs: names as they are, so that what is read back is what was written."""
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, float_format="%.6g", lineterminator="\n")
    return buffer.getvalue()


def _disarmed(value: Any) -> Any:
    """Spreadsheets run what begins with one of these, also after blanks or line ends; numbers they do not."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    if _NUMBER.fullmatch(text):
        return text
    return (
        f"'{text}"
        if text.strip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
        else text
    )

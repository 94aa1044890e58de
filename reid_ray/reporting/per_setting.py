"""Summarise each training setting over the collections, as the paper does. In: methods. Out: tables."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reid_ray.reporting.pooled import Method

COLUMNS = (
    "method",
    "family",
    "backbone",
    "lr",
    "margin",
    "scale",
    "mining",
    "datasets",
    "finished",
    "q1",
    "median",
    "q3",
    "worst",
    "best",
    "val_median",
)


def per_setting(methods: Sequence[Method]) -> pd.DataFrame:
    """A row per setting of the grid, best median first; those that did not finish everywhere last.

    Columns: `datasets` of seen species it was meant for, and on how many it `finished`; over these
        `q1`, `median`, `q3`, `worst`, `best` of top-1; `val_median` of top-1 on validation photos,
        by which the trial was chosen. Shares in 0..1.
    """
    rows = [_row(method) for method in methods if method.is_trial]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["_short"] = table["finished"] < table["datasets"]
    table = table.sort_values(["_short", "median"], ascending=[True, False], kind="stable")
    return table.drop(columns="_short").reset_index(drop=True)


def best_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Of `per_setting` the best of each backbone and loss among those that finished everywhere."""
    whole = table[(table["finished"] == table["datasets"]) & table["median"].notna()]
    return whole.groupby(["backbone", "family"], sort=False).head(1).reset_index(drop=True)


def _row(method: Method) -> dict[str, object]:
    top1 = per_dataset(method)
    meant = {name for result in method.results for name in result.scope.split("+")}
    if method.predictions is not None:
        answered = method.predictions
        meant -= set(answered.loc[answered["domain"] != "seen", "dataset"])
    figures = {name: getattr(top1, name)() if len(top1) else np.nan for name in ("min", "max")}
    q1, median, q3 = top1.quantile([0.25, 0.5, 0.75]) if len(top1) else [np.nan] * 3
    validated = [r.metrics["val/top1"] for r in method.results if "val/top1" in r.metrics]
    return {
        "method": method.name,
        "family": method.family,
        **method.params,
        "datasets": len(meant),
        "finished": len(top1),
        "q1": q1,
        "median": median,
        "q3": q3,
        "worst": figures["min"],
        "best": figures["max"],
        "val_median": float(np.median(validated)) if validated else np.nan,
    }


def per_dataset(method: Method) -> "pd.Series[float]":
    """Top-1 on each collection of a seen species that it finished on."""
    if method.predictions is None:
        return pd.Series(dtype=float)
    seen = method.predictions[method.predictions["domain"] == "seen"]
    return seen.groupby("dataset")["correct"].mean()

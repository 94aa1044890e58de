"""Turn answers into the figures of the field. In: predictions. Out: shares by sectioned name."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from reid_ray.evaluation.intervals import wilson
from reid_ray.evaluation.predictions import OTHER_ENCOUNTER, SIDES, UNKNOWN_ENCOUNTER

DOMAINS = ("seen", "unseen")
OTHER_ENCOUNTER_SECTION = "other_encounter"


def summarise(predictions: pd.DataFrame) -> dict[str, float]:
    """Figures per domain (`seen/top1`) and per dataset (`test/<dataset>/top1`), over all their
    queries.

    `top1` is the paper's figure, with its Wilson 95 % interval in `top1_low` and `top1_high`;
    `top5` asks for a right reference among five; `balanced_top1` gives every identity the same
    weight; `mAP` is the mean average precision; `queries` counts.

    Where sides are known, `top1_same_side` and `top1_other_side` say which share of the queries was
    named rightly by a reference of either side. Where encounters are known, the same figures under
    `other_encounter/` (`other_encounter/seen/top1`) are those without references of the query's own
    encounter; `answerable` is the share of queries that then still have a right reference.
    """
    figures: dict[str, float] = {}
    for section, part in _sections(predictions):
        figures |= {f"{section}/{name}": value for name, value in _figures(part).items()}
        other = other_encounter(part)
        if len(other):
            values = _figures(other) | {"answerable": float((other["first_correct"] > 0).mean())}
            figures |= {
                f"{OTHER_ENCOUNTER_SECTION}/{section}/{name}": value
                for name, value in values.items()
            }
    return figures


def other_encounter(predictions: pd.DataFrame) -> pd.DataFrame:
    """The answers without references of the query's own encounter, of queries whose encounter is
    known; none where none are known.
    """
    first, precision = OTHER_ENCOUNTER
    if first not in predictions:
        return predictions.iloc[:0]
    part = predictions[predictions[first] > UNKNOWN_ENCOUNTER]
    view = part.assign(
        first_correct=part[first], correct=part[first] == 1, average_precision=part[precision]
    )
    return view.assign(**{SIDES[0]: part[SIDES[1]]}) if SIDES[1] in part else view


def cmc(first_correct: ArrayLike, ranks: ArrayLike) -> NDArray[np.float64]:
    """Share of queries with a right reference among the first r, for each r of `ranks`."""
    first = np.asarray(first_correct, np.int64)
    ranks_r = np.asarray(ranks, np.int64)
    if first.size == 0:
        return np.zeros(ranks_r.shape)
    reached = (first[None, :] >= 1) & (first[None, :] <= ranks_r[:, None])
    return np.asarray(reached.mean(axis=1), np.float64)


def identity_accuracy(predictions: pd.DataFrame) -> pd.DataFrame:
    """Columns `dataset`, `domain`, `identity`, `queries`, `correct`, `top1`; a row per animal."""
    by = predictions.groupby(["dataset", "domain", "identity"], sort=False)["correct"]
    table = by.agg(queries="size", correct="sum").reset_index()
    table["top1"] = table["correct"] / table["queries"]
    return table


def chance(rows: pd.DataFrame) -> pd.DataFrame:
    """What guessing reference photos at random would achieve, in expectation, per query.

    Columns: `query`, `dataset`, `group`, `domain`, `identity` and the expected `top1`, `top5`,
        `mAP`. With R right references of N: top1 R/N; top5 1 - C(N-R, 5)/C(N, 5); mAP (h +
        (R-1)/(N-1) (1 - h)), h = H_N / N.
    """
    references = rows[rows["split"] == "reference"]
    queries = rows[rows["split"] == "query"]
    total = references.groupby("dataset").size()
    right = references.groupby(["dataset", "identity"]).size()
    owner = pd.MultiIndex.from_frame(queries[["dataset", "identity"]])
    total_q = queries["dataset"].map(total).fillna(0).to_numpy(np.int64)
    right_q = right.reindex(owner).fillna(0).to_numpy(np.int64)
    table = queries[["key", "dataset", "group", "domain", "identity"]].reset_index(drop=True)
    table = table.rename(columns={"key": "query"})
    pairs = {
        pair: _expected(*pair) for pair in set(zip(right_q.tolist(), total_q.tolist(), strict=True))
    }
    expected = [pairs[pair] for pair in zip(right_q.tolist(), total_q.tolist(), strict=True)]
    table[["top1", "top5", "mAP"]] = np.array(expected, np.float64).reshape(-1, 3)
    return table


def chance_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """`summarise` of `chance`: expectations, so both ends of the interval equal the figure."""
    figures: dict[str, float] = {}
    for section, part in _sections(chance(rows)):
        balanced = part.groupby(["dataset", "identity"])["top1"].mean().mean()
        top1 = float(part["top1"].mean())
        values = {
            "top1": top1, "top1_low": top1, "top1_high": top1, "top5": float(part["top5"].mean()),
            "balanced_top1": float(balanced), "mAP": float(part["mAP"].mean()),
            "queries": float(len(part)),
        }  # fmt: skip
        figures |= {f"{section}/{name}": value for name, value in values.items()}
    return figures


def _sections(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Domains that have queries, then datasets in the order they appear."""
    for domain in DOMAINS:
        part = table[table["domain"] == domain]
        if len(part):
            yield domain, part
    for dataset, part in table.groupby("dataset", sort=False):
        yield f"test/{dataset}", part


def _figures(part: pd.DataFrame) -> dict[str, float]:
    correct = part["correct"].to_numpy(bool)
    low, high = wilson(int(correct.sum()), len(correct))
    figures = {
        "top1": float(correct.mean()),
        "top1_low": low,
        "top1_high": high,
        "top5": float(cmc(part["first_correct"], [5])[0]),
        "balanced_top1": float(identity_accuracy(part)["top1"].mean()),
        "mAP": float(part["average_precision"].mean()),
        "queries": float(len(part)),
    }
    if SIDES[0] in part and part[SIDES[0]].ne("").any():
        for side in ("same", "other"):
            by_it = correct & part[SIDES[0]].eq(side).to_numpy(bool)
            figures[f"top1_{side}_side"] = float(by_it.mean())
    return figures


def _expected(right: int, total: int) -> tuple[float, float, float]:
    """Expected top-1, top-5 and average precision of a random order with `right` of `total`."""
    if right == 0:
        return 0.0, 0.0, 0.0
    tries = min(5, total)
    miss = float(np.prod([max(total - right - i, 0) / (total - i) for i in range(tries)]))
    mean_reciprocal = float((1 / np.arange(1, total + 1)).mean())
    others = (right - 1) / (total - 1) if total > 1 else 0.0
    return right / total, 1 - miss, mean_reciprocal + others * (1 - mean_reciprocal)

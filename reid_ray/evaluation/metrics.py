"""Turn answers into the figures of the field. In: predictions. Out: shares by sectioned name."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from reid_ray.evaluation.intervals import animals_mean
from reid_ray.evaluation.open_set import open_figures
from reid_ray.evaluation.predictions import OTHER_ENCOUNTER, SIDES, UNKNOWN_ENCOUNTER

DOMAINS = ("seen", "unseen")
OTHER_ENCOUNTER_SECTION = "other_encounter"
_SEED = 0
"""Intervals are drawn with a fixed seed, so that the same answers give the same figures."""


def summarise(predictions: pd.DataFrame) -> dict[str, float]:
    """Figures per domain (`seen/top1`) and per dataset (`test/<dataset>/top1`).

    Over `queries`, those whose animal has a reference: `top1` is the paper's figure; `top5` asks
    for a right reference among five; `mAP` is the mean average precision; `balanced_top1` and
    `balanced_top5` give every animal the same weight. Each has its 95 % interval in `<name>_low`
    and `<name>_high`: for other animals of the same kind (see `animals_mean`).

    Where sides are known, `top1_same_side` and `top1_other_side` say which share of the queries was
    named rightly by a reference of either side. Where encounters are known, the same figures under
    `other_encounter/` (`other_encounter/seen/top1`) are those without references of the query's own
    encounter; `answerable` is the share of them that then still have a right reference.

    Where there are `unknown_queries` as well, of animals without a reference, those of
    `open_figures`.
    """
    figures: dict[str, float] = {}
    for section, part in _sections(predictions):
        figures |= {f"{section}/{name}": value for name, value in _figures(part).items()}
        other = other_encounter(part)
        if len(other):
            answerable = known_only(other)["first_correct"] > 0
            values = _figures(other)
            values |= {"answerable": float(answerable.mean())} if len(answerable) else {}
            figures |= {
                f"{OTHER_ENCOUNTER_SECTION}/{section}/{name}": value for name, value in values.items()
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
    view = part.assign(first_correct=part[first], correct=part[first] == 1, average_precision=part[precision])
    return view.assign(**{SIDES[0]: part[SIDES[1]]}) if SIDES[1] in part else view


def known_only(predictions: pd.DataFrame) -> pd.DataFrame:
    """Answers to queries whose animal has a reference: all, unless a split has unknown individuals."""
    if "known" not in predictions:
        return predictions
    return predictions[predictions["known"].astype(bool)].reset_index(drop=True)


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
    pairs = {pair: _expected(*pair) for pair in set(zip(right_q.tolist(), total_q.tolist(), strict=True))}
    expected = [pairs[pair] for pair in zip(right_q.tolist(), total_q.tolist(), strict=True)]
    table[["top1", "top5", "mAP"]] = np.array(expected, np.float64).reshape(-1, 3)
    return table


def chance_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """`summarise` of `chance`: expectations, so both ends of an interval equal the figure.

    Of unknown individuals a guesser says nobody to every other photo: AUROC 1/2, BAUS 1/2, and BAKS half
    of balanced top-1.
    """
    figures: dict[str, float] = {}
    for section, part in _sections(chance(rows)):
        known = part[part["top1"] > 0]  # an animal without a reference cannot be guessed
        values: dict[str, float] = {}
        if len(known):
            animals = known.groupby(["dataset", "identity"])[["top1", "top5"]].mean().mean()
            values = {
                **_exact("top1", known["top1"].mean()),
                **_exact("top5", known["top5"].mean()),
                **_exact("balanced_top1", animals["top1"]),
                **_exact("balanced_top5", animals["top5"]),
                **_exact("mAP", known["mAP"].mean()),
                "queries": float(len(known)),
            }
        if len(known) < len(part):
            values["unknown_queries"] = float(len(part) - len(known))
        if len(known) and len(known) < len(part):
            baks = values["balanced_top1"] / 2
            values |= _exact("auroc", 0.5) | _exact("baks", baks) | _exact("baus", 0.5)
            values |= _exact("geometric", (baks / 2) ** 0.5)
        figures |= {f"{section}/{name}": value for name, value in values.items()}
    return figures


def _exact(name: str, value: float) -> dict[str, float]:
    return {name: float(value), f"{name}_low": float(value), f"{name}_high": float(value)}


def _sections(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Domains that have queries, then datasets in the order they appear."""
    for domain in DOMAINS:
        part = table[table["domain"] == domain]
        if len(part):
            yield domain, part
    for dataset, part in table.groupby("dataset", sort=False):
        yield f"test/{dataset}", part


def _figures(part: pd.DataFrame) -> dict[str, float]:
    rng = np.random.default_rng(_SEED)
    known = known_only(part)
    figures = {"queries": float(len(known))} if len(known) else {}
    if len(known):
        figures |= _over_animals(known) | _by_side(known)
    if len(known) < len(part):
        figures["unknown_queries"] = float(len(part) - len(known))
        figures |= open_figures(part, rng)
    return figures


def _by_side(part: pd.DataFrame) -> dict[str, float]:
    """Shares of photos named rightly by a reference of the same side, and of the other."""
    if SIDES[0] not in part or not part[SIDES[0]].ne("").any():
        return {}
    correct = part["correct"].to_numpy(bool)
    return {
        f"top1_{side}_side": float((correct & part[SIDES[0]].eq(side).to_numpy(bool)).mean())
        for side in ("same", "other")
    }


def _over_animals(part: pd.DataFrame) -> dict[str, float]:
    """Shares of photos, mAP and balanced shares, with intervals for other animals."""
    animal = part.groupby(["dataset", "identity"], sort=False).ngroup().to_numpy(np.int64)
    values = {
        "top1": part["correct"].to_numpy(float),
        "top5": _within(part, 5).astype(float),
        "mAP": part["average_precision"].to_numpy(float),
    }
    photos = np.bincount(animal)
    measured = {name: (one, animal) for name, one in values.items()}
    for name in ("top1", "top5"):
        each = np.bincount(animal, weights=values[name]) / photos
        measured[f"balanced_{name}"] = each, np.arange(len(each))
    figures: dict[str, float] = {}
    for name, (one, animals) in measured.items():
        low, high = animals_mean(one, animals)
        figures |= {name: float(one.mean()), f"{name}_low": low, f"{name}_high": high}
    return figures


def _within(part: pd.DataFrame, rank: int) -> NDArray[np.bool_]:
    first = part["first_correct"].to_numpy(np.int64)
    return np.asarray((first >= 1) & (first <= rank))


def _expected(right: int, total: int) -> tuple[float, float, float]:
    """Expected top-1, top-5 and average precision of a random order with `right` of `total`."""
    if right == 0:
        return 0.0, 0.0, 0.0
    tries = min(5, total)
    miss = float(np.prod([max(total - right - i, 0) / (total - i) for i in range(tries)]))
    mean_reciprocal = float((1 / np.arange(1, total + 1)).mean())
    others = (right - 1) / (total - 1) if total > 1 else 0.0
    return right / total, 1 - miss, mean_reciprocal + others * (1 - mean_reciprocal)

"""Tell known animals from new ones by the best score, and say how well that goes.

In: leave-one-out queries among references, or answers. Out: a threshold, or figures. A query is answered with
nobody where its best score is below a threshold, which is chosen on the reference set alone.
Definitions: BAKS and BAUS, balanced accuracy on known and on unknown samples, and their geometric
mean are AnimalCLEF's (2025) and wildlife-datasets'; AUROC is the chance that a query of a known
animal scores higher than one of an unknown individual, ties counting half. Legend: q leave-one-out queries,
g references."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.evaluation.intervals import open_ended

_DRAWS = 2000
_LEFT_OUT = np.float32(-np.inf)


class LeaveOneOutQueries(NamedTuple):
    """References that were asked among the others, leave-one-out.

    Attributes:
        present: float32 [q], best score while photos of the own animal are there; NaN where it has
            no other photo.
        right: bool [q], whether that best is of the own animal.
        withheld: float32 [q], best score while the own animal is left out; minus infinity where
            there is no other.
        identities: int64 [q].
    """

    present: NDArray[np.float32]
    right: NDArray[np.bool_]
    withheld: NDArray[np.float32]
    identities: NDArray[np.int64]


def choose_threshold(leave_one_out_queries: LeaveOneOutQueries) -> float:
    """The score from which on an answer is given: highest geometric mean of BAKS and BAUS.

    BAKS is that of leave-one-out queries with the own animal there, BAUS that of leave-one-out queries
    without it. Candidates lie half-way between scores; of equally good ones the highest mean decides, then
    the lowest threshold. NaN where nothing could be looked up either way."""
    known = ~np.isnan(leave_one_out_queries.present)
    if not known.any() or not len(leave_one_out_queries.withheld):
        return float("nan")
    scores = np.concatenate([leave_one_out_queries.present[known], leave_one_out_queries.withheld])
    finite = np.unique(scores[np.isfinite(scores)].astype(np.float64))
    if not finite.size:
        return float("nan")
    candidates = np.concatenate([[finite[0]], (finite[1:] + finite[:-1]) / 2, [finite[-1] + 1e-6]])
    accepted = _share_from(
        leave_one_out_queries.present[known],
        _balance(leave_one_out_queries.identities[known]) * leave_one_out_queries.right[known],
        candidates,
    )
    weights = _balance(leave_one_out_queries.identities)
    rejected = weights.sum() - _share_from(leave_one_out_queries.withheld, weights, candidates)
    both = np.round(np.sqrt(np.maximum(accepted * rejected, 0)), 12)
    best = np.lexsort((candidates, -np.round(accepted + rejected, 12), -both))[0]
    return float(candidates[best])


def open_figures(part: pd.DataFrame, rng: np.random.Generator) -> dict[str, float]:
    """AUROC, BAKS, BAUS and the geometric mean of both, with 95 % intervals; {} where queries of
    known or of unknown individuals are missing.

    Only datasets with unknown individuals take part. Animals of both kinds are drawn whole, each kind by
    itself. Over several datasets AUROC compares queries of one dataset only, since scores of
    different ones do not compare; each dataset has its own threshold.
    """
    new = part.loc[~part["known"].astype(bool), "dataset"]
    part = part[part["dataset"].isin(new)]
    known = part["known"].to_numpy(bool)
    if known.all() or not known.any():
        return {}
    figures = _auroc(part, known, rng)
    threshold = part["threshold"].to_numpy(np.float64)
    if np.isnan(threshold).any():
        return figures
    rejected = best_scores(part) < threshold
    good = np.where(known, part["correct"].to_numpy(bool) & ~rejected, rejected)
    kinds, draws = [], _draws(part)
    for kind in (known, ~known):
        accuracy = pd.Series(good[kind]).groupby(_animals(part[kind])).mean().to_numpy(np.float64)
        picked = _picked(len(accuracy), draws, rng)
        kinds.append((float(accuracy.mean()), (picked @ accuracy) / len(accuracy), len(accuracy)))
    for name, (share, drawn, animals) in zip(("baks", "baus"), kinds, strict=True):
        figures |= _with_ends(name, share, drawn, animals)
    (baks, baks_draws, some), (baus, baus_draws, others) = kinds
    both, drawn = (baks * baus) ** 0.5, (baks_draws * baus_draws) ** 0.5
    return figures | _with_ends("geometric", both, drawn, min(some, others))


def best_scores(part: pd.DataFrame) -> NDArray[np.float64]:
    """Each query's best score; minus infinity where there is no reference at all."""
    scores = [scores[0] if len(scores) else -np.inf for scores in part["top_scores"]]
    return np.array(scores, np.float64)


def _auroc(part: pd.DataFrame, known: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, float]:
    """From won[i, j]: how often photos of known animal i score above those of unknown individual j."""
    scores, animals = best_scores(part), _animals(part)
    names_i, place_i = np.unique(animals[known], return_inverse=True)
    names_j, place_j = np.unique(animals[~known], return_inverse=True)
    won, pairs = np.zeros((len(names_i), len(names_j))), np.zeros((len(names_i), len(names_j)))
    dataset = pd.factorize(part["dataset"])[0]
    theirs, their_set = scores[~known], dataset[~known]
    for mine, own_set, i in zip(scores[known], dataset[known], place_i, strict=True):
        rivals = their_set == own_set
        gain = ((mine > theirs) + 0.5 * (mine == theirs)) * rivals
        won[i] += np.bincount(place_j, gain, minlength=len(names_j))
        pairs[i] += np.bincount(place_j, rivals, minlength=len(names_j))
    if not pairs.any():
        return {}
    draws = _draws(part)
    picked_i, picked_j = (_picked(len(names), draws, rng) for names in (names_i, names_j))
    wins = ((picked_i @ won) * picked_j).sum(axis=1)
    areas = wins / np.maximum(((picked_i @ pairs) * picked_j).sum(axis=1), 1)
    return _with_ends("auroc", float(won.sum() / pairs.sum()), areas, min(won.shape))


def _animals(part: pd.DataFrame) -> NDArray[np.str_]:
    names = part["dataset"].astype(str) + "\0" + part["identity"].astype(str)
    return np.asarray(names.to_numpy(str))


def _draws(part: pd.DataFrame) -> int:
    """How often animals are drawn: less often where there are thousands of photos."""
    return int(min(_DRAWS, max(200, (1 << 23) // len(part))))


def _picked(count: int, draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each of `count` animals is drawn, float64 [draws, count]."""
    drawn = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
    counts = np.bincount(drawn.reshape(-1), minlength=draws * count)
    return counts.reshape(draws, count).astype(np.float64)


def _with_ends(name: str, value: float, draws: NDArray[np.float64], animals: int) -> dict[str, float]:
    ends = np.quantile(draws, [0.025, 0.975])
    low, high = open_ended((float(ends[0]), float(ends[1])), value, animals)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _balance(identities: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights that give every animal the same share of 1."""
    _, place, counts = np.unique(identities, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[place]))


def _share_from(
    scores: NDArray[np.float32], weights: NDArray[np.float64], candidates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Summed weight of scores at or above each candidate."""
    order = np.argsort(scores)
    above = np.concatenate([np.cumsum(weights[order][::-1])[::-1], [0.0]])
    return np.asarray(above[np.searchsorted(scores[order].astype(np.float64), candidates)])

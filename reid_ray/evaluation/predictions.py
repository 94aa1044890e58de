"""Write ranked answers as a table with a row per query. In: rows, `Ranked`. Out: predictions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from reid_ray.datasets.encounters import ENCOUNTER, encounter_codes
from reid_ray.evaluation.ranking import Ranked

COLUMNS = (
    "query",
    "dataset",
    "group",
    "domain",
    "identity",
    "known",
    "predicted",
    "correct",
    "first_correct",
    "average_precision",
    "top_keys",
    "top_identities",
    "top_scores",
    "threshold",
)
PROBABILITIES = ("probability", "unknown_probability", "withheld_probability", "withheld_unknown")
"""Where a method's probability model could be fitted: P(the first candidate), P(no known animal), and the
same had the query's own animal no photo; NaN for queries that were not asked so."""

OTHER_ENCOUNTER = ("other_encounter_first_correct", "other_encounter_average_precision")
"""Where encounters are known: as `first_correct` and `average_precision`, without references of the
query's own encounter; the first is `UNKNOWN_ENCOUNTER` where the query's is not known, or where the
method does not search a second time without it (behind a shortlist, in fusions)."""
SIDES = ("side", "other_encounter_side")
"""Where sides are known: whether the best reference shows the `same` side as the query or the
`other` one; "" where either is not known."""
UNKNOWN_ENCOUNTER = -1

Positions = NDArray[np.int64]


def predictions_table(
    rows: pd.DataFrame, query_positions: ArrayLike, reference_positions: ArrayLike, ranked: Ranked
) -> pd.DataFrame:
    """One row per query, in the order of `query_positions`.

    `predicted` is the identity of the best reference ("" where there are no references at all);
    `known` says whether the query's own animal has a reference; `threshold` is the score below
    which the answer is nobody, NaN where none was chosen. Lists hold at most k references, fewer
    where the dataset has fewer. Columns `OTHER_ENCOUNTER` and
    `SIDES` are added where the collection tells.
    """
    queries = rows.iloc[np.asarray(query_positions, np.int64)].reset_index(drop=True)
    references = np.asarray(reference_positions, np.int64)
    keys = rows["key"].to_numpy(object)[references]
    identities = rows["identity"].to_numpy(object)[references]
    kept = [index[index >= 0] for index in ranked.top_index]
    top_identities = [[str(name) for name in identities[index]] for index in kept]
    predicted = [names[0] if names else "" for names in top_identities]
    table = pd.DataFrame(
        {
            "query": queries["key"],
            **{column: queries[column] for column in ("dataset", "group", "domain", "identity")},
            "known": queries["identity"].isin(identities).to_numpy(bool),
            "predicted": pd.Series(predicted, dtype="str"),
            "correct": (queries["identity"].to_numpy(object) == np.array(predicted, object)).astype(bool),
            "first_correct": ranked.first_correct.astype(np.int64),
            "average_precision": ranked.average_precision.astype(np.float64),
            "top_keys": [[str(key) for key in keys[index]] for index in kept],
            "top_identities": top_identities,
            "top_scores": _scores(ranked, kept),
            "threshold": np.nan,
        },
        columns=list(COLUMNS),
    )
    # Columns depend on the whole collection alone, so that tables of several datasets fit together.
    other = ranked.other_encounter
    if other is None and not (encounter_codes(rows.iloc[references]) >= 0).any():
        other = ranked  # where no reference's encounter is known, none is left out
    if ENCOUNTER in rows:
        answered = encounter_codes(queries) >= 0 if other else np.zeros(len(queries), bool)
        view = other or ranked
        first = np.where(answered, view.first_correct, UNKNOWN_ENCOUNTER)
        table[OTHER_ENCOUNTER[0]] = first.astype(np.int64)
        table[OTHER_ENCOUNTER[1]] = np.where(answered, view.average_precision, 0.0)
    if "orientation" in rows:
        table[SIDES[0]] = _sides(rows, queries, references, ranked)
        table[SIDES[1]] = _sides(rows, queries, references, other)
    return table


def _sides(
    rows: pd.DataFrame, queries: pd.DataFrame, references: Positions, ranked: Ranked | None
) -> pd.Series:
    """`same` or `other`: the side that each query's best reference shows; "" where unknown."""
    own, shown = _orientations(queries), _orientations(rows.iloc[references])
    if ranked is None:
        return pd.Series([""] * len(own), dtype="str")
    best = [index[0] if len(index) else -1 for index in ranked.top_index]
    theirs = [shown[index] if index >= 0 else "" for index in best]
    return pd.Series(
        [
            "" if not (mine and its) else "same" if mine == its else "other"
            for mine, its in zip(own, theirs, strict=True)
        ],
        dtype="str",
    )


def _orientations(rows: pd.DataFrame) -> list[str]:
    return [str(side).strip().casefold() for side in rows["orientation"].fillna("")]


def pool(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables of predictions; none gives an empty table with the same columns."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))


def _scores(ranked: Ranked, kept: Sequence[NDArray[Any]]) -> list[list[float]]:
    return [row[: len(index)].tolist() for row, index in zip(ranked.top_score, kept, strict=True)]

"""Write ranked answers as a table with a row per query. In: rows, `Ranked`. Out: predictions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from reid_ray.evaluation.ranking import Ranked

COLUMNS = (
    "query", "dataset", "group", "domain", "identity", "predicted", "correct", "first_correct",
    "average_precision", "top_keys", "top_identities", "top_scores",
)  # fmt: skip

Positions = NDArray[np.int64]
Search = Callable[[Positions, Positions, NDArray[np.int64], NDArray[np.int64]], Ranked]
"""(query positions, reference positions, query labels, reference labels) -> `Ranked`."""


def predictions_table(
    rows: pd.DataFrame, query_positions: ArrayLike, reference_positions: ArrayLike, ranked: Ranked
) -> pd.DataFrame:
    """One row per query, in the order of `query_positions`.

    `predicted` is the identity of the best reference ("" where there are no references at all).
    Lists hold at most k references, fewer where the dataset has fewer.
    """
    queries = rows.iloc[np.asarray(query_positions, np.int64)].reset_index(drop=True)
    references = np.asarray(reference_positions, np.int64)
    keys = rows["key"].to_numpy(object)[references]
    identities = rows["identity"].to_numpy(object)[references]
    kept = [index[index >= 0] for index in ranked.top_index]
    top_identities = [[str(name) for name in identities[index]] for index in kept]
    predicted = [names[0] if names else "" for names in top_identities]
    return pd.DataFrame(
        {
            "query": queries["key"],
            **{column: queries[column] for column in ("dataset", "group", "domain", "identity")},
            "predicted": pd.Series(predicted, dtype="str"),
            "correct": (queries["identity"].to_numpy(object) == np.array(predicted, object)).astype(
                bool
            ),
            "first_correct": ranked.first_correct.astype(np.int64),
            "average_precision": ranked.average_precision.astype(np.float64),
            "top_keys": [[str(key) for key in keys[index]] for index in kept],
            "top_identities": top_identities,
            "top_scores": _scores(ranked, kept),
        },
        columns=list(COLUMNS),
    )


@dataclass(frozen=True)
class Sides:
    """What is asked of one dataset: positions of rows, and a number per identity, int64."""

    dataset: str
    queries: Positions
    references: Positions
    query_labels: NDArray[np.int64]
    reference_labels: NDArray[np.int64]


def dataset_sides(rows: pd.DataFrame, *, validation: bool = False) -> Iterator[Sides]:
    """Datasets that have queries, in row order.

    With `validation`, queries are the reference photos that were kept out of training, searched
    among the other references; the query photos stay untouched.
    """
    split = rows["split"].to_numpy(object)
    is_reference, is_query = split == "reference", split == "query"
    if validation:
        held_out = rows["validation"].to_numpy(bool)
        is_reference, is_query = is_reference & ~held_out, is_reference & held_out
    dataset = rows["dataset"].to_numpy(object)
    labels = pd.factorize(rows["dataset"].astype(str) + "/" + rows["identity"].astype(str))[
        0
    ].astype(np.int64)
    for name in pd.unique(rows["dataset"]):
        queries = np.flatnonzero(is_query & (dataset == name))
        references = np.flatnonzero(is_reference & (dataset == name))
        if queries.size:
            yield Sides(str(name), queries, references, labels[queries], labels[references])


def answer_queries(rows: pd.DataFrame, search: Search, *, validation: bool = False) -> pd.DataFrame:
    """Answer every query among the references of its own dataset, dataset by dataset.

    `validation` as in `dataset_sides`.
    """
    parts = []
    for side in dataset_sides(rows, validation=validation):
        ranked = search(side.queries, side.references, side.query_labels, side.reference_labels)
        parts.append(predictions_table(rows, side.queries, side.references, ranked))
    return pool(parts)


def pool(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack tables of predictions; none gives an empty table with the same columns."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(COLUMNS))


def _scores(ranked: Ranked, kept: Sequence[NDArray[Any]]) -> list[list[float]]:
    return [row[: len(index)].tolist() for row, index in zip(ranked.top_score, kept, strict=True)]

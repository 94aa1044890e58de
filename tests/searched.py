"""Predictions by a function of (queries, references, query labels, reference labels), for tests."""

from collections.abc import Callable

import pandas as pd

from reid_ray.evaluation.ranking import Ranked
from reid_ray.methods.answer import ranked_answers


def answer_queries(
    rows: pd.DataFrame, search: Callable[..., Ranked], *, validation: bool = False
) -> pd.DataFrame:
    """Answer every query among the references of its own collection."""
    return ranked_answers(
        rows,
        lambda one: search(
            one.photos[one.references :],
            one.photos[: one.references],
            one.labels[one.references :],
            one.labels_g,
        ),
        validation=validation,
    )

"""Score what needs neither training nor a model: guessing. In: the table. Out: a finished method folder."""

import time

import pandas as pd

from reid_ray.evaluation.metrics import chance_metrics
from reid_ray.runs.methods import MethodFolder, Result


def score_chance(key: str, rows: pd.DataFrame, folder: MethodFolder) -> None:
    """Expected figures of ranking the references at random."""
    result = Result(
        key=key,
        method="chance",
        kind="baseline",
        family="chance",
        scope="+".join(pd.unique(rows["dataset"])),
        metrics=chance_metrics(rows),
        started_at=time.time(),
        note="expectation of ranking the references at random",
    )
    folder.finish(result)

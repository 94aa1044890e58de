"""Read masks in a process that may die: what a mask makes a decoder do ends a task, never the study.

In: the table, prepared photos. Out: whether the background alone tells who it is, and sentences.
"""

from typing import Any

import pandas as pd
import ray
from ray.exceptions import OutOfMemoryError, WorkerCrashedError

from reid_ray.config.datasets import Data
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.methods.background import background_scores, background_warning

Scores = list[dict[str, Any]]


def look_at_backgrounds(data: Data, rows: pd.DataFrame, images: PreparedImages) -> tuple[Scores, list[str]]:
    """Scores of each collection with masks, and what the reader should know; see `background_scores`."""
    if data.background == "off":
        return [], []
    try:
        scores, refused = ray.get(ray.remote(num_cpus=1, max_retries=1)(_look).remote(data, rows, images))
    except (WorkerCrashedError, OutOfMemoryError) as error:
        kind = "memory ran out" if isinstance(error, OutOfMemoryError) else "a mask ended the process"
        return [], [
            f"backgrounds were not looked at: {kind} that reads the masks; take out masks that were not made "
            "by a known program, or set data.background to off"
        ]
    notes = [f"{len(refused)} masks cannot be read, for example {refused[0]}"] if refused else []
    return scores, notes + [background_warning(score) for score in scores if score["beats_chance"]]


def _look(data: Data, rows: pd.DataFrame, images: PreparedImages) -> tuple[Scores, list[str]]:
    refused: list[str] = []
    boxes = data.background == "bbox"
    scores = background_scores(rows, images, data.images, boxes=boxes, told=refused.append)
    return scores, sorted(refused)

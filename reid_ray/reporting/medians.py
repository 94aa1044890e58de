"""Sum each setting up over datasets, as the paper does: median and quartiles. In: methods. Out: a frame."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from reid_ray.reporting.pooled import Method

COLUMNS = [
    "method",
    "family",
    "chosen",
    "datasets",
    "q1",
    "median",
    "q3",
    "worst",
    "best",
    "val_top1",
]


def medians(methods: Sequence[Method]) -> pd.DataFrame:
    """A row per method with answers on several seen datasets: top-1 over datasets, best median first.

    Every dataset counts the same, however many queries it has. Quartiles interpolate linearly. A
    setting that did not finish everywhere is left out: its median would be over easier data.
    """
    rows = []
    for method in methods:
        points = _per_dataset(method)
        if len(points) > 1:
            q1, median, q3 = np.quantile(points, [0.25, 0.5, 0.75])
            rows.append(
                {
                    "method": method.name, "family": method.family, "chosen": method.chosen,
                    "datasets": len(points), "q1": q1, "median": median, "q3": q3,
                    "worst": points.min(), "best": points.max(),
                    "val_top1": method.figures.get("val/top1"),
                }
            )  # fmt: skip
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values("median", ascending=False, kind="stable", ignore_index=True)


def _per_dataset(method: Method) -> np.ndarray:
    predictions = method.predictions
    if not method.finished or predictions is None:
        return np.empty(0)
    seen = predictions[predictions["domain"] == "seen"]
    return seen.groupby("dataset")["correct"].mean().to_numpy(float)

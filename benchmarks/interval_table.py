"""List every interval of finished studies as it was and as it is: over photos, and over animals.

    python benchmarks/interval_table.py runs/match-quickstart runs/match-lion runs/match-nyala-dev

Before: Wilson over photos for top-1 and top-5, percentiles of animals drawn for mAP and balanced top-1.
Prints a Markdown table; where encounters are known, also the figures among other encounters.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from reid_ray.evaluation.intervals import animals_mean, bootstrap_mean, wilson
from reid_ray.evaluation.metrics import other_encounter
from reid_ray.runs.study import StudyFolder


def rows(table: pd.DataFrame) -> list[tuple[str, float, tuple[float, float], tuple[float, float]]]:
    """Measure, figure, interval before and now."""
    animals = table["dataset"].astype(str) + "/" + table["identity"].astype(str)
    first = table["first_correct"].to_numpy()
    found = []
    for name, values in (
        ("top-1", table["correct"].to_numpy(float)),
        ("top-5", ((first >= 1) & (first <= 5)).astype(float)),
        ("mAP", table["average_precision"].to_numpy(float)),
    ):
        draws = bootstrap_mean(values, np.random.default_rng(0), clusters=animals)
        before = draws if name == "mAP" else wilson(values.sum(), len(values))
        found.append((name, float(values.mean()), before, animals_mean(values, animals)))
    each = table.groupby(animals)["correct"].mean().to_numpy(float)
    draws = bootstrap_mean(each, np.random.default_rng(0))
    found.append(("balanced top-1", float(each.mean()), draws, animals_mean(each, np.arange(len(each)))))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", nargs="+", type=Path)
    given = parser.parse_args()
    print("| study | method | measure | % | before | now | times as wide |")
    print("|---|---|---|---|---|---|---|")
    for path in given.study:
        for method in StudyFolder(path).load().methods:
            if method.predictions is None:
                continue
            views = {"": method.predictions, ", other encounters": other_encounter(method.predictions)}
            for view, table in views.items():
                for name, value, before, now in rows(table) if len(table) else ():
                    cells = [f"{100 * low:.1f} to {100 * high:.1f}" for low, high in (before, now)]
                    wider = (now[1] - now[0]) / (before[1] - before[0])
                    told = [path.name, method.result.method, name + view, f"{100 * value:.1f}", *cells]
                    print(f"| {' | '.join(told)} | {wider:.2f} |")


if __name__ == "__main__":
    main()

"""Write splits of wildlife-datasets 1.0.8 (MIT) itself beside this file, as JSON.

The package wants libraries that its splits do not need, so it is no dependency here, and only its folder of
splits is imported:

    uv pip install --no-deps --target /tmp/wd wildlife-datasets==1.0.8
    uv run --with tqdm python tests/golden/splits_of_wildlife_datasets.py /tmp/wd/wildlife_datasets
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SEEDS = (666, 1)


def table(number: int) -> pd.DataFrame:
    """Photos of animals of many sizes, some equally large, some unknown, on days of several years."""
    rng = np.random.default_rng(number)
    sizes = rng.integers(1, 12, size=9 + 5 * number)
    names = np.repeat([f"a{place:02}" for place in rng.permutation(len(sizes))], sizes)
    names = rng.permutation(np.concatenate([names, ["unknown"] * 3 * number]))
    days = pd.Timestamp("2018-01-01") + pd.to_timedelta(rng.integers(0, 4 * 365, len(names)), unit="D")
    ids = [f"{place:04}" for place in range(len(names))]
    return pd.DataFrame({"image_id": ids, "identity": names, "date": days.strftime("%Y-%m-%d")})


def settings() -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    """By name: their class, its arguments, and the same in our words (`split`)."""
    theirs: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "closed": ("ClosedSetSplit", {"ratio_train": 0.8}, {"kind": "closed_set"}),
        "time proportion": (
            "TimeProportionSplit",
            {"ratio": 0.5},
            {"kind": "time_proportion", "reference_share": 0.5},
        ),
        "time cutoff": (
            "TimeCutoffSplit",
            {"year": 2020},
            {"kind": "time_cutoff", "cutoff": 2020, "until": 2021},
        ),
        "time cutoff, all later": (
            "TimeCutoffSplit",
            {"year": 2020, "test_one_year_only": False},
            {"kind": "time_cutoff", "cutoff": 2020},
        ),
    }
    for share in (0.1, 0.3):
        ours = {"kind": "open_set", "draw": "wildlife_datasets", "unknown_share": share}
        theirs[f"open {share}"] = ("OpenSetSplit", {"ratio_train": 0.7, "ratio_class_test": share}, ours)
        ours["reference_share"] = 0.7
        ours = {"kind": "disjoint_set", "draw": "wildlife_datasets", "test_share": share}
        theirs[f"disjoint {share}"] = ("DisjointSetSplit", {"ratio_class_test": share}, ours)
    ours = {"kind": "open_set", "draw": "wildlife_datasets", "unknown_identities": 3}
    theirs["open, 3 animals"] = ("OpenSetSplit", {"ratio_train": 0.8, "n_class_test": 3}, ours)
    ours = {"kind": "disjoint_set", "draw": "wildlife_datasets", "test_identities": 4}
    theirs["disjoint, 4 animals"] = ("DisjointSetSplit", {"n_class_test": 4}, ours)
    return theirs


def main(package: Path) -> None:
    sys.path.insert(0, str(package))
    import splits

    found = []
    for number in range(3):
        rows = table(number)
        for name, (kind, arguments, ours) in settings().items():
            for seed in SEEDS:
                ((train, test),) = getattr(splits, kind)(seed=seed, **arguments).split(rows)
                sides = {"train": sorted(map(int, train)), "test": sorted(map(int, test))}
                found.append({"name": f"{name}, table {number}, seed {seed}", "table": number, **sides,
                              "split": {**ours, "seed": seed}})  # fmt: skip
    path = Path(__file__).with_suffix(".json")
    text = ",\n".join(json.dumps(one, separators=(",", ":")) for one in found)
    path.write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""How long a split takes, and what the driver needs for it, in memory and by Ray Data.

    python benchmarks/splitting.py --rows 1000000 --how ray

Animals have 10 photos each on average; the table is Parquet files of a million rows.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd


def write(folder: Path, rows: int) -> None:
    """Rows in any order, ids without gaps."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number, start in enumerate(range(0, rows, 1_000_000)):
        size = min(1_000_000, rows - start)
        # Multiplying by a number without common factor visits every id once.
        ids = (np.arange(start, start + size) * 7_654_321) % rows
        who = np.char.add("animal", random.integers(rows // 10, size=size).astype(str))
        pd.DataFrame({"image_id": ids, "identity": who}).to_parquet(folder / f"{number}.parquet", index=False)


def in_memory(folder: Path) -> dict[str, int]:
    """As a study does it."""
    from reid_ray.config.datasets import Split
    from reid_ray.splits.assign import assign

    rows = pd.read_parquet(folder).assign(dataset="a", group="a", path="", encounter="")
    rows["image_id"] = rows["image_id"].astype(str)
    found = assign(rows.assign(key="a/" + rows["image_id"]), Split()).rows
    return {str(part): int(count) for part, count in found["split"].value_counts().items()}


def by_ray(folder: Path, to: Path) -> dict[str, int]:
    """As `python -m reid_ray.split` does it."""
    from reid_ray.config.datasets import Split
    from reid_ray.on_ray.cluster.session import cluster
    from reid_ray.on_ray.splitting import split_file

    with cluster():
        return split_file(str(folder), str(to), Split(), name="a")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--how", choices=["memory", "ray"], default="ray")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        table = Path(place) / "table"
        write(table, given.rows)
        # What made the table counts as well, and is the same for both.
        started = time.monotonic()
        parts = in_memory(table) if given.how == "memory" else by_ray(table, Path(place) / "split")
        seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{given.rows} rows, {given.how}: {seconds:.0f} s, driver at most {peak:.2f} GiB, {parts}")

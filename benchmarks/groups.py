"""Measure groups of unknown animals: agreement (adjusted Rand index) with the truth, by what is known.

    python benchmarks/groups.py --data ../shared/data [--only NyalaDev] [--keep scores/]

The animals of a collection are divided into halves at random: on one it is learnt what a pair's score
is worth and where to cut, the other is grouped, as strangers would be. Prints a table in Markdown: mean and
range over the divisions, beside what each encounter as a group reaches without a look at the photos, and
what `learn` promised from the first half alone.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Sift
from reid_ray.datasets.images import read_prepared
from reid_ray.evaluation import grouping
from reid_ray.matching.engine import Packed, use_one_thread
from reid_ray.matching.extract import extract
from reid_ray.matching.lnbnn import lnbnn_block

ENCOUNTERS = {"NyalaDev": r"(\d+)_[^/]*$", "LionData": None}
DIVISIONS = 10
BLOCK = 16


def scores_of(root: Path, paths: list[str], keep: Path | None) -> NDArray[np.float32]:
    """LNBNN (5 votes, plain distances) of each photo with each other, [1, n, n], by logarithm."""
    kept = None if keep is None else keep / f"{root.name}.npy"
    if kept is not None and kept.is_file():
        return np.load(kept)
    images = Images(short_px=256)
    photos = (read_prepared(str(root), path, images=images).pixels for path in paths)
    packed = Packed.of(extract(photos, Sift(root=True))).sketched()
    rows = []
    for at in range(0, len(packed), BLOCK):
        few = packed.part(at, min(at + BLOCK, len(packed)))
        own = np.arange(len(few))[:, None] + at == np.arange(len(packed))[None]
        rows.append(lnbnn_block(few, 0, len(few), packed, [(5, "plain")], left_out_qg=own)[0])
    scores = np.log1p(np.maximum(np.concatenate(rows), 0)).astype(np.float32)[None]
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, scores)
    return scores


def halves(identities: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    animals = np.unique(identities)
    return [
        np.isin(identities, rng.permutation(animals)[: len(animals) // 2]) for _ in range(DIVISIONS)
    ]


def measure(
    scores: NDArray[np.float32], identities: NDArray[np.int64], encounters: NDArray[np.int64] | None
) -> pd.DataFrame:
    """A row per division: `reached`, `promised`, `encounters` alone."""
    rows = []
    for half in halves(identities):
        first, second = np.flatnonzero(half), np.flatnonzero(~half)
        of = None if encounters is None else encounters[first]
        learnt = grouping.learn(scores[:, first][:, :, first], identities[first], of)
        theirs = None if encounters is None else encounters[second]
        groups = learnt.groups(scores[:, second][:, :, second], theirs)
        alone = 0.0 if theirs is None else grouping.agreement(theirs, identities[second])
        reached = grouping.agreement(groups, identities[second])
        rows.append({"reached": reached, "promised": learnt.ari, "encounters": alone})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=list(ENCOUNTERS))
    parser.add_argument("--keep", type=Path, help="folder for scores of all pairs")
    given = parser.parse_args()
    use_one_thread()
    print("| collection | encounters known | reached | promised | encounters alone |")
    print("|---|---|---|---|---|")
    for name, pattern in ENCOUNTERS.items():
        if given.only not in (None, name):
            continue
        table = pd.read_csv(given.data / name / "metadata.csv", dtype=str)
        identities = pd.factorize(table["identity"])[0].astype(np.int64)
        scores = scores_of(given.data / name, table["path"].tolist(), given.keep)
        kinds: list[NDArray[np.int64] | None] = [None]
        if pattern is not None:
            found = table["path"].str.extract(pattern, expand=False)
            kinds.append(pd.factorize(found)[0].astype(np.int64))
        for encounters in kinds:
            cells = [
                f"{column.mean():.3f} ({column.min():.3f} to {column.max():.3f})"
                for _, column in measure(scores, identities, encounters).items()
            ]
            print(
                f"| {name} | {'no' if encounters is None else 'yes'} | {' | '.join(cells)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

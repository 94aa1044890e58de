"""Measure learned local features with published weights: who is named rightly, by features and way to match.

    uv sync --group weights
    python benchmarks/learned.py --data ../shared/data --keep near/ [--only NyalaDev] [--kinds SIFT ALIKED]
        [--lightglue ALIKED] [--wildfusion ALIKED XFeat DISK] [--queries 60] [--taught 100] [--short-px 256]

Queries of the closed-set split (NyalaDev) and the published one (LionData), references all or of other
encounters alone. Votes per descriptor, ratios, weights of places, curves and weights of fusions are chosen
by asking references among the others, never by queries. `by side and place`: the product's defaults (photos
of the other flank left out, votes weighted by place). LightGlue looks at the 20 best photos of LNBNN with
the same features by side and place. WildFusion (arXiv 2408.12934): LightGlue (LighterGlue for XFeat) looks at
the `--listed` best photos of an ImageNet network (EfficientNet-Lite0), each score is made a probability by
isotonic regression on pairs of references, and their plain mean ranks. `learned order`: `combine: learned` of
a fusion, without other weights. Prints a Markdown table: top-1 with a 95 % interval over animals, and what is
gained over SIFT with plain LNBNN on the same queries. What is slow is kept in `--keep`, so that a stopped run
goes on.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from learned_features import ENCOUNTERS, THRESHOLDS, Collection, keypoint_weights
from numpy.typing import NDArray
from votes import Votes

from reid_ray.evaluation.fusion import Combine, Fused, Pairs, fit, sample_pairs
from reid_ray.evaluation.intervals import animals_mean, bootstrap_mean
from reid_ray.matching.engine import use_one_thread
from reid_ray.matching.features import Features
from reid_ray.matching.places import PlaceWeights
from reid_ray.methods.leave_one_out import sample

VOTERS = (1, 2, 3, 5, 10)
LISTED = 20
EMBEDDED = "Lite0, cosine"
TODAY, DEFAULT = "SIFT, LNBNN", "SIFT, LNBNN by side and place"
BY = " by side and place"

Numbers = NDArray[np.int64]
Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Answers:
    """Scores of references asked among the others [t, g], and of queries [q, g]; -inf: must not answer."""

    taught: Scores
    queries: Scores


@dataclass
class Measured:
    """One collection, divided.

    Attributes:
        out: bool [n, n], photos that must not answer one another.
        taught: references that are asked to choose by, positions among `known`.
        glued: of these, how many LightGlue looks at, for fusions.
        listed: photos that WildFusion looks at.
    """

    collection: Collection
    known: Numbers
    new: Numbers
    taught: Numbers
    out: NDArray[np.bool_]
    votes: dict[str, Votes]
    features: dict[str, Features]
    glued: int = 0
    listed: int = LISTED
    found: dict[str, Answers] = field(default_factory=dict)
    weights: dict[str, PlaceWeights | None] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.identities = self.collection.identities
        met = self.collection.encounters
        self.met = met[:, None] == met[None]
        sides = next(iter(self.votes.values())).sides
        self.flank = (sides[:, None] != sides[None]) & (sides[:, None] >= 0) & (sides[None] >= 0)
        self.asked = self.known[self.taught]

    def right(self, scores: Scores, asked: Numbers) -> NDArray[np.bool_]:
        best = self.known[scores.argmax(axis=1)]
        return np.asarray(self.identities[best] == self.identities[asked])

    def lnbnn(self, kind: str, *, side: bool, place: bool) -> Answers:
        votes, out = self.votes[kind], self.out | (self.flank & side)
        taught, new = out[np.ix_(self.asked, self.known)], out[np.ix_(self.new, self.known)]
        scored = {one: votes.scores(self.asked, self.known, one, taught) for one in VOTERS}
        voters = max(VOTERS, key=lambda one: self.right(scored[one], self.asked).mean())
        name = f"{kind}, LNBNN" + (BY if place else ", same side" if side else "")
        self.chosen[name] = f"{voters} votes"
        if not place:
            return Answers(scored[voters], votes.scores(self.new, self.known, voters, new))
        met = (self.met | (self.flank & side))[np.ix_(self.known, self.known)]
        places = votes.places(self.known, voters, met, self.identities, self.taught)
        self.weights[kind] = places.weights
        if places.weights is None:
            self.chosen[name] += ", places alike"
        return Answers(
            votes.scores(self.asked, self.known, voters, taught, places.weights),
            votes.scores(self.new, self.known, voters, new, places.weights),
        )

    def ratio(self, kind: str, *, mutual: bool, side: bool) -> Answers:
        asked = np.concatenate([self.asked, self.new])
        counts = self.collection.counts(kind, self.features[kind], asked, self.known, mutual=mutual)
        out = (self.out | (self.flank & side))[np.ix_(asked, self.known)]
        scores = np.where(out[..., None], -np.inf, counts)
        taught, new = scores[: len(self.asked)], scores[len(self.asked) :]
        shares = [self.right(taught[..., t], self.asked).mean() for t in range(len(THRESHOLDS))]
        best = int(np.argmax(shares))
        name = f"{kind}, {'mutual' if mutual else 'ratio'}" + (", same side" if side else "")
        self.chosen[name] = f"{THRESHOLDS[best]:g}"
        return Answers(taught[..., best], new[..., best])

    def embedded(self) -> Answers:
        vectors = self.collection.vectors()
        scores = vectors @ vectors[self.known].T
        return Answers(
            *(
                np.where(self.out[np.ix_(one, self.known)], -np.inf, scores[one])
                for one in (self.asked, self.new)
            )
        )

    def listed_alone(self) -> Answers:
        """The network's scores of the photos that WildFusion looks at."""
        base = self.found[EMBEDDED]
        return Answers(
            *(np.where(_of_list(one, self.listed), one, -np.inf) for one in (base.taught, base.queries))
        )

    def lightglue(self, kind: str, *, base: str, listed: int, place: bool = False) -> Answers:
        """Matches of the best `listed` photos of another way.

        Of the references the first `glued` are asked; the rows of the others are -inf.
        """
        sides = []
        for scores, asked in ((self.found[base].taught, self.asked), (self.found[base].queries, self.new)):
            pairs = self.best_of(scores, asked, listed)[: self.glued if asked is self.asked else None]
            matches = self.collection.matches(kind, self.features[kind], pairs)
            found = np.full(scores.shape, -np.inf)
            position = {int(photo): g for g, photo in enumerate(self.known)}
            for row, (q, candidates) in enumerate(pairs):
                weights = self.weights[kind] if place else None
                weight = keypoint_weights(self.features[kind], q, self.votes[kind].sides, weights)
                for photo in candidates:
                    g = position[int(photo)]
                    # Equal counts stay in the list's order.
                    found[row, g] = weight[matches[q, int(photo)][:, 0]].sum() + 1e-4 * scores[row, g]
            sides.append(found)
        return Answers(*sides)

    def best_of(self, scores: Scores, asked: Numbers, listed: int) -> list[tuple[int, Numbers]]:
        """Each asked photo with its best photos."""
        lists = np.argsort(-scores, axis=1, kind="stable")[:, :listed]
        return [
            (int(q), self.known[one[np.isfinite(scores[row, one])]])
            for row, (q, one) in enumerate(zip(asked, lists, strict=True))
        ]

    def fused(
        self,
        name: str,
        parts: Sequence[str],
        *,
        chosen: bool = True,
        combine: Sequence[Combine] = ("mean", "log_odds"),
    ) -> Answers:
        """Calibrated by pairs of references; weights, if `chosen`, and how they are joined by them, too.

        A reference that a part does not look at has less than any score of it.
        """
        answers = [self.found[part] for part in parts]
        taught, queries = (
            np.stack([getattr(one, side) for one in answers], axis=-1) for side in ("taught", "queries")
        )
        same = self.identities[self.asked][:, None] == self.identities[self.known][None]
        rng = np.random.default_rng(0)
        drawn = [
            sample_pairs(
                unlisted(one).astype(np.float32),
                same[q],
                answers_of(one),
                query=q,
                animal=int(self.identities[self.asked[q]]),
                rng=rng,
                best=20,
                others=30,
            )
            for q, one in enumerate(taught)
            if np.isfinite(one).any(axis=0).all()
        ]
        fitted = max(
            (
                fit(Pairs.concat(drawn), kind="isotonic", combine=how, choose_weights=chosen)
                for how in combine
            ),
            key=lambda one: one.top1,
        ).fused
        self.chosen[name] = f"{fitted.combine}, " + ", ".join(f"{one:.1f}" for one in fitted.weights)
        return Answers(*(np.stack([ranked(fitted, one) for one in side]) for side in (taught, queries)))


def _of_list(scores: Scores, listed: int) -> NDArray[np.bool_]:
    """Which are among the best so many of their row."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return np.asarray(order.argsort(axis=1) < listed)


def answers_of(scores_gp: Scores) -> NDArray[np.bool_]:
    """Who may answer: whom any part looks at."""
    return np.asarray(np.isfinite(scores_gp).any(axis=1))


def unlisted(scores_gp: Scores) -> Scores:
    return np.where(np.isfinite(scores_gp), scores_gp, -1)


def ranked(fused: Fused, scores_gp: Scores) -> Scores:
    """The place of each reference, negative; -inf: must not answer."""
    found = np.full(len(scores_gp), -np.inf)
    able = np.flatnonzero(answers_of(scores_gp))
    found[able[fused.best_first(unlisted(scores_gp[able]))]] = -np.arange(len(able))
    return found


def ways(given: argparse.Namespace, flanks: bool) -> dict[str, Callable[[Measured], Answers]]:
    """Each way by its name, in the order in which they build on one another."""
    found: dict[str, Callable[[Measured], Answers]] = {}
    kinds: list[str] = given.kinds
    for kind in kinds:
        found[f"{kind}, LNBNN"] = partial(Measured.lnbnn, kind=kind, side=False, place=False)
        if flanks:
            found[f"{kind}, LNBNN, same side"] = partial(Measured.lnbnn, kind=kind, side=True, place=False)
        found[f"{kind}, LNBNN{BY}"] = partial(Measured.lnbnn, kind=kind, side=True, place=True)
    for kind, mutual in [*product(given.ratio, [False]), *product(given.mutual, [True])]:
        name = f"{kind}, {'mutual' if mutual else 'ratio'}"
        found[name] = partial(Measured.ratio, kind=kind, mutual=mutual, side=False)
        if flanks:
            found[f"{name}, same side"] = partial(Measured.ratio, kind=kind, mutual=mutual, side=True)
    for kind in given.lightglue:
        looked = partial(Measured.lightglue, kind=kind, base=f"{kind}, LNBNN{BY}", listed=LISTED)
        found[f"{kind}, LightGlue"] = looked
        found[f"{kind}, LightGlue by place"] = partial(looked, place=True)
    if given.wildfusion:
        found[EMBEDDED] = Measured.embedded
        found[f"{EMBEDDED}, best {given.listed} alone"] = Measured.listed_alone
        parts = [f"{EMBEDDED}, best {given.listed} alone"]
        for kind in given.wildfusion:
            parts = [*parts, f"{kind}, LightGlue on {EMBEDDED}"]
            found[parts[-1]] = partial(Measured.lightglue, kind=kind, base=EMBEDDED, listed=given.listed)
            name = "WildFusion: Lite0, " + ", ".join(given.wildfusion[: len(parts) - 1])
            found[name] = partial(Measured.fused, name=name, parts=parts, chosen=False, combine=["mean"])
            found[f"{name}, weights chosen"] = partial(
                Measured.fused, name=f"{name}, weights chosen", parts=parts
            )
    glued = given.lightglue if given.glued else []
    joined = {DEFAULT + f" + {kind}, LightGlue": [DEFAULT, f"{kind}, LightGlue"] for kind in glued}
    joined |= {
        DEFAULT + f" + {kind}, LightGlue by place": [DEFAULT, f"{kind}, LightGlue by place"] for kind in glued
    }
    others = [kind for kind in kinds if kind != "SIFT"]
    for kind in others:
        joined[f"SIFT + {kind}, LNBNN"] = [TODAY, f"{kind}, LNBNN"]
        joined[f"SIFT + {kind}, LNBNN{BY}"] = [DEFAULT, f"{kind}, LNBNN{BY}"]
        joined[f"SIFT + {kind}, LNBNN, plain and{BY}"] = [
            TODAY,
            f"{kind}, LNBNN",
            *joined[f"SIFT + {kind}, LNBNN{BY}"],
        ]
    if len(others) > 1:
        joined[f"all features, LNBNN{BY}"] = [f"{kind}, LNBNN{BY}" for kind in kinds]
        joined[f"all features, LNBNN, plain and{BY}"] = [
            f"{kind}, LNBNN{way}" for way in ("", BY) for kind in kinds
        ]
    if "ALIKED" in kinds:
        both = [DEFAULT, f"ALIKED, LNBNN{BY}"]
        for kind in glued:
            joined[f"SIFT + ALIKED, LNBNN{BY} + {kind}, LightGlue by place"] = [
                *both,
                f"{kind}, LightGlue by place",
            ]
    for name, parts in joined.items():
        found[name] = partial(Measured.fused, name=name, parts=parts)
        learned = f"{name}, learned order"
        found[learned] = partial(Measured.fused, name=learned, parts=parts, chosen=False, combine=["learned"])
    return found


def told(values: NDArray[np.floating], animals: Numbers) -> str:
    low, high = animals_mean(values, animals)
    return f"{100 * values.mean():.1f} ({100 * low:.1f}-{100 * high:.1f})"


def gained(gain: NDArray[np.floating], animals: Numbers) -> str:
    low, high = bootstrap_mean(gain, np.random.default_rng(0), clusters=animals)
    return f"{100 * gain.mean():+.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def measure(collection: Collection, given: argparse.Namespace) -> Iterator[str]:
    known, new = collection.split()
    features = {kind: collection.features(kind) for kind in given.kinds}
    met = collection.encounters
    taught = sample(len(known), most=given.taught, seed=0)
    some = np.sort(np.concatenate([known[taught], new]))
    votes = {kind: collection.votes(kind, features[kind], some, known) for kind in given.kinds}
    if given.queries:
        new = by_animal(new, collection.identities, given.queries)
    outs = {"other encounters": met[:, None] == met[None], "all": np.eye(len(met), dtype=bool)}
    flanks = bool((next(iter(votes.values())).sides >= 0).any())
    for view in given.views if ENCOUNTERS[collection.name] else ["all"]:
        out = outs[view]
        here = Measured(collection, known, new, taught, out, votes, features, given.glued, given.listed)
        animals = collection.identities[new]
        today = None
        for name, way in ways(given, flanks).items():
            here.found[name] = way(here)
            right = here.right(here.found[name].queries, new).astype(float)
            today = right if name == TODAY else today
            assert today is not None
            scored = np.isfinite(here.found[name].taught).any(axis=1)
            share = here.right(here.found[name].taught, here.asked)[scored].mean()
            file = collection.keep / "answers" / f"{collection.name}-{view}-{len(new)}-{name}.npy"
            file.parent.mkdir(exist_ok=True)
            np.save(file, np.stack([new, right]))
            yield (
                f"| {collection.name}, {view} | {name} | {here.chosen.get(name, '')} | {100 * share:.1f} "
                f"| {told(right, animals)} | {gained(right - today, animals)} |"
            )


def by_animal(photos: Numbers, identities: Numbers, least: int) -> Numbers:
    """Photos of animals drawn one after the other until there are `least`."""
    animals = np.random.default_rng(0).permutation(np.unique(identities[photos]))
    counts = np.array([(identities[photos] == animal).sum() for animal in animals])
    drawn = animals[: int(np.searchsorted(counts.cumsum(), least)) + 1]
    return photos[np.isin(identities[photos], drawn)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keep", type=Path, required=True, help="folder for what is slow")
    parser.add_argument("--only", choices=list(ENCOUNTERS))
    parser.add_argument("--kinds", nargs="+", default=["SIFT", "ALIKED", "XFeat", "DISK"])
    parser.add_argument("--lightglue", nargs="*", default=["ALIKED"])
    parser.add_argument("--views", nargs="+", default=["other encounters", "all"])
    parser.add_argument("--ratio", nargs="*", default=["SIFT", "ALIKED", "XFeat", "DISK"])
    parser.add_argument("--mutual", nargs="*", default=["SIFT", "ALIKED", "XFeat", "DISK"])
    parser.add_argument(
        "--glued", type=int, default=40, help="of these, looked at by LightGlue; 0: not fused"
    )
    parser.add_argument("--wildfusion", nargs="*", default=[], help="its features, after the network")
    parser.add_argument("--listed", type=int, default=50, help="photos that WildFusion looks at")
    parser.add_argument("--queries", type=int, help="about so many, of animals that are drawn; default: all")
    parser.add_argument("--taught", type=int, default=100, help="references that are asked to choose by")
    parser.add_argument("--short-px", type=int, default=256)
    given = parser.parse_args()
    use_one_thread()
    print("| collection, references | features and way | chosen | right on references % | top-1 % | gain |")
    print("|---|---|---|---|---|---|")
    for name in ENCOUNTERS:
        if given.only in (None, name):
            for line in measure(Collection.load(given.data / name, given.keep, given.short_px), given):
                print(line, flush=True)


if __name__ == "__main__":
    main()

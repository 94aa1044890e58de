"""Weigh votes by where in a photo they come from, as references alone teach it.

In: references asked among the others, each without its own encounter. Out: `Places`: weights, or why
there are none. Whether weights are used, and what they are said to gain, is decided by queries of
animals that they were not learnt of.

Legend: l asked references, c cells, g references.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from reid_ray.config.matching import Matching
from reid_ray.evaluation.intervals import cluster_error
from reid_ray.matching.places import CELLS, RIGHT, SHAPES, Evidence, PlaceWeights, Shape, learn, mirrored
from reid_ray.matching.scoring import References, Setting, votes_by_part
from reid_ray.methods.bench import Bench, answers
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.leave_one_out import sample
from reid_ray.methods.scorer import AT_ONCE, blocks

FOLDS = 5
FEWEST_ANIMALS = 10
"""Fewer animals that can be asked for teach nothing of others."""
_VOTES, _SCORES = 1 << 18, 1 << 24
"""References times photos that are asked, or judged, at once: 128 MiB either way."""
_SURE = 1.0
"""Standard errors, over animals, by which weights must name more references than none do."""


@dataclass(frozen=True)
class Places:
    """What was learnt.

    Attributes:
        weights: None: every vote counts alike.
        facts: for people: references `asked`, and the share (0..1) of them whose best photo, of other
            encounters, is of the right animal, `plain` and `weighted`.
        note: why there are no weights; "" where there are.
    """

    weights: PlaceWeights | None = None
    facts: Mapping[str, float] | None = None
    note: str = ""

    @property
    def asked(self) -> bool:
        """Whether anything was asked for: with `place_weights: off` nothing is."""
        return self.weights is not None or bool(self.note)

    def params(self) -> dict[str, str | int | float | bool]:
        """What people want to know, as flat scalars."""
        if not self.asked:
            return {}
        told = {
            f"leave_one_out_{name}": round(v, 4) for name, v in (self.facts or {}).items() if name != "asked"
        }
        return {"place_weights": "off" if self.weights is None else "learnt", **told}

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        weights = None if self.weights is None else self.weights.as_json()
        return {"weights": weights, "facts": dict(self.facts or {}), "note": self.note}

    @classmethod
    def of(cls, learnt: Mapping[str, Any]) -> "Places":
        """Of what a local-feature method has learnt.

        Raises:
            StorageError: weights are damaged.
        """
        if (raw := learnt.get("places")) is None:
            return cls()
        weights = None if raw["weights"] is None else PlaceWeights.from_json(raw["weights"])
        return cls(weights, dict(raw["facts"]), str(raw["note"]))


@dataclass(frozen=True)
class VotesByPlace:
    """Votes of asked references.

    Attributes:
        votes: float32 [l * c, g], sparse as few references get any from one cell.
        out: bool [l, g], references that must not answer.
    """

    votes: sparse.csr_matrix
    out: NDArray[np.bool_]

    @classmethod
    def join(cls, parts: Sequence[Mapping[str, NDArray[Any]]], references: int) -> "VotesByPlace":
        """From the results of `PlacesRequest`, in their order."""
        votes = [
            sparse.csr_matrix(
                (one["values"], one["columns"], one["starts"]), (len(one["starts"]) - 1, references)
            )
            for one in parts
        ]
        return cls(sparse.vstack(votes, format="csr"), np.concatenate([one["out"] for one in parts]))


@dataclass(frozen=True)
class PlacesRequest:
    """Votes of some references by cell, asked among those of other encounters."""

    asked: Positions
    hidden_g: NDArray[np.bool_] | None
    config: Matching
    setting: Setting

    def run(self, references: References, gallery: Gallery) -> dict[str, NDArray[Any]]:
        """The parts of `VotesByPlace`, as plain arrays."""
        assert references.cells is not None
        votes, outs = [], []
        offsets = references.packed.offsets
        for few in blocks(self.asked, int(np.clip(_VOTES // gallery.references, 1, AT_ONCE))):
            out = gallery.excluded(few, encounter=True, hidden_g=self.hidden_g)
            found = np.zeros((len(few), CELLS, gallery.references), np.float32)
            for rows in gallery.alike(few):
                cells = np.concatenate([references.cells[offsets[i] : offsets[i + 1]] for i in few[rows]])
                packed = references.packed.take(few[rows])
                found[rows] = votes_by_part(
                    packed, references, self.config, self.setting, cells, CELLS, out[rows]
                )
            silent = gallery.silent(few, out)
            found = np.where(silent[:, None], 0, found)
            votes.append(sparse.csr_matrix(found.reshape(-1, gallery.references)))
            outs.append(silent)
        joined = sparse.vstack(votes, format="csr")
        return {
            "values": joined.data,
            "columns": joined.indices,
            "starts": joined.indptr,
            "out": np.concatenate(outs),
        }


@dataclass(frozen=True)
class _Asked:
    """Votes, and all that is known of who was asked."""

    votes: sparse.csr_matrix
    out: NDArray[np.bool_]
    own: Positions
    labels_g: Positions
    right_flank: NDArray[np.bool_]
    evidence: Evidence

    @classmethod
    def of(cls, found: VotesByPlace, asked: Positions, gallery: Gallery) -> "_Asked":
        own, right_flank = gallery.labels[asked], gallery.sides[asked] == RIGHT
        same = (own[:, None] == gallery.labels_g) & ~found.out
        others = ~found.out & ~same
        sums = np.asarray(found.votes.sum(axis=1)).reshape(len(asked), CELLS)
        mine = np.stack(
            [
                np.asarray(
                    found.votes[row * CELLS : (row + 1) * CELLS][:, np.flatnonzero(one)].sum(axis=1)
                ).ravel()
                for row, one in enumerate(same)
            ]
        )
        turned = mirrored(np.arange(CELLS))
        means = [
            np.where(right_flank[:, None], side[:, turned], side)
            for side in (
                mine / np.maximum(same.sum(axis=1), 1)[:, None],
                (sums - mine) / np.maximum(others.sum(axis=1), 1)[:, None],
            )
        ]
        return cls(found.votes, found.out, own, gallery.labels_g, right_flank, Evidence(*means))

    @property
    def able(self) -> NDArray[np.bool_]:
        """Whose animal has a photo that may answer."""
        return np.asarray(((self.own[:, None] == self.labels_g) & ~self.out).any(axis=1))

    def right(self, weights: NDArray[np.float64], rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Whether the best photo is of the right animal, of some of the asked."""
        found = np.zeros(len(rows), bool)
        for places in blocks(np.flatnonzero(rows), max(1, _SCORES // self.votes.shape[1])):
            found[places] = self._named(weights, places)
        return found[rows]

    def _named(self, weights: NDArray[np.float64], places: Positions) -> NDArray[np.bool_]:
        turned = weights[mirrored(np.arange(CELLS))]
        values = np.where(self.right_flank[places, None], turned, weights).ravel()
        columns = (places[:, None] * CELLS + np.arange(CELLS)).ravel()
        starts = np.arange(len(places) + 1) * CELLS
        sums = sparse.csr_matrix((values, columns, starts), (len(places), self.votes.shape[0])) @ self.votes
        scores = np.where(self.out[places], -np.inf, sums.toarray())
        return np.asarray(self.labels_g[scores.argmax(axis=1)] == self.own[places])


def decide(found: VotesByPlace, asked: Positions, gallery: Gallery, *, seed: int) -> Places:
    """Weights, if animals that they were not learnt of are named better with them."""
    every = _Asked.of(found, asked, gallery)
    able = every.able
    animals = np.unique(every.own[able])
    if len(animals) < FEWEST_ANIMALS:
        return Places(
            note=f"votes count alike wherever they come from: {len(animals)} animals with photos of several "
            f"encounters are too few to learn from, {FEWEST_ANIMALS} are needed"
        )
    plain = np.zeros(len(asked), bool)
    plain[able] = every.right(np.ones(CELLS), able)
    crossed = plain.copy()
    for judged in _folds(every.own, able, seed):
        taught = able & ~judged
        shape = _choose(every, taught, seed + 1)
        crossed[judged] = every.right(learn(every.evidence.take(taught), shape), judged)
    gain = crossed[able].astype(float) - plain[able]
    facts = {
        "asked": float(able.sum()),
        "plain": float(plain[able].mean()),
        "weighted": float(crossed[able].mean()),
    }
    if gain.mean() <= _SURE * cluster_error(gain, every.own[able]):
        return Places(
            facts=facts,
            note="votes count alike wherever they come from: weights by place do not surely name more of the "
            f"references asked among the others ({100 * facts['weighted']:.1f} % with them, "
            f"{100 * facts['plain']:.1f} % without)",
        )
    weights = learn(every.evidence.take(able), _choose(every, able, seed))
    sided = bool((gallery.sides[asked] == RIGHT).any())
    return Places(PlaceWeights(tuple(map(float, weights)), sided), facts)


def _choose(every: _Asked, rows: NDArray[np.bool_], seed: int) -> Shape:
    """The shape that names most of these rightly, each by weights of other animals; the first of equals."""
    named = []
    for shape in SHAPES:
        right = 0
        for judged in _folds(every.own, rows, seed):
            weights = learn(every.evidence.take(rows & ~judged), shape)
            right += int(every.right(weights, judged).sum())
        named.append(right)
    return SHAPES[int(np.argmax(named))]


def _folds(own: Positions, rows: NDArray[np.bool_], seed: int) -> Iterator[NDArray[np.bool_]]:
    """The rows in parts of whole animals, bool [l] each."""
    animals = np.random.default_rng(seed).permutation(np.unique(own[rows]))
    for fold in np.array_split(animals, min(FOLDS, len(animals))):
        yield rows & np.isin(own, fold)


def learn_places(
    config: Matching,
    settings: Sequence[Setting],
    references: References,
    gallery: Gallery,
    bench: Bench,
    work: Path | None,
    size: int,
) -> tuple[Places, Places]:
    """What votes count by place: to be used, then as no validation photo taught it.

    Args:
        settings: of either.
        size: photos asked in one request.
    """
    if config.place_weights == "off" or references.cells is None:
        return Places(), Places()
    found = []
    hidden: list[NDArray[np.bool_] | None] = [None]
    if gallery.trained.any() and not gallery.trained.all():
        hidden.append(~gallery.trained)
    shared = bench.share(references), bench.share(gallery)
    for view, out in enumerate(hidden):
        able = np.arange(gallery.references) if out is None else np.flatnonzero(~out)
        asked = able[sample(len(able), most=config.leave_one_out_queries, seed=config.seed)]
        ask = partial(PlacesRequest, hidden_g=out, config=config, setting=settings[view])
        told = "places of votes, references asked"
        parts = answers(bench, asked, size, ask, *shared, name=f"places-{view}-", told=told, folder=work)
        votes = VotesByPlace.join(parts, gallery.references)
        found.append(decide(votes, asked, gallery, seed=config.seed))
    return found[0], found[-1]


def weighed(references: References, gallery: Gallery, weights: PlaceWeights | None) -> References:
    """The references, whose keypoints have the weights of their places."""
    if weights is None or references.cells is None:
        return references
    sides = np.repeat(gallery.sides[: gallery.references], np.diff(references.packed.offsets))
    return references.weighed(weights.of(references.cells, sides))


def weights_of(learnt: Mapping[str, Any]) -> PlaceWeights | None:
    """What a method, or the first part of a fusion that has any, has learnt of places."""
    parts = learnt.get("parts", [learnt])
    return next((found for part in parts if (found := Places.of(part).weights) is not None), None)


def told(learnt: Mapping[str, Any], parts: Sequence[str] = ()) -> list[str]:
    """Sentences for people on what a method, or each part of a fusion, has learnt of places.

    Args:
        parts: names of the fusion's parts.
    """
    if "parts" in learnt:
        each = zip(parts, learnt["parts"], strict=True)
        return [f"{name}: {text}" for name, part in each for text in told(part)]
    found = Places.of(learnt)
    if found.weights is None or not found.facts:
        return [found.note] if found.note else []
    before, after = (100 * found.facts[name] for name in ("plain", "weighted"))
    return [
        f"votes count by where in a photo they come from: of {found.facts['asked']:.0f} references asked "
        f"among other encounters, {after:.1f} % are named rightly so, {before:.1f} % otherwise"
    ]

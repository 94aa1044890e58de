"""Make queries of reference photos: all that is chosen or fitted, is so by these.

A leave-one-out query is a reference that is asked among the others. It is never answered by itself, a
copy of its file or a photo of its own encounter; where a method was trained on some references, those
it has not seen are asked, among those it has; and its own animal can be withheld, as if it were unknown.

Legend: l leave-one-out queries, g references, i animals.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.evaluation.open_set import LeaveOneOutQueries
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.ready import Ready
from reid_ray.methods.scorer import Animals


def sample(count: int, *, most: int, seed: int) -> Positions:
    """At most `most` of 0 .. count - 1, ascending, drawn without replacement."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).astype(np.int64)


def asked_references(
    gallery: Gallery, *, trained: bool, most: int, seed: int
) -> tuple[Positions, NDArray[np.bool_] | None]:
    """Which references are asked, at most `most`, and which never answer.

    A trained model is over-sure of the photos it was trained on: of those only the photos kept out of
    training (validation) are asked, as a query would be, among all the others. None are where none
    were kept out.
    """
    known = gallery.trained if trained else np.zeros(gallery.references, bool)
    if not known.any():
        return sample(gallery.references, most=most, seed=seed), None
    able = np.flatnonzero(~known)
    return able[sample(len(able), most=most, seed=seed)], ~known


@dataclass(frozen=True)
class LeaveOneOut:
    """References asked among the others by one method.

    Attributes:
        asked: int64 [l], those whose animal has another photo that may answer.
        own: int64 [l], position of each one's animal among the gallery's.
        known, withheld: what all animals say while the own one is there, and while it is not.
        biased: the method was trained on all of them, so they know too much.
    """

    asked: Positions
    own: Positions
    known: Animals
    withheld: Animals
    biased: bool = False

    def leave_one_out_queries(self) -> LeaveOneOutQueries:
        """What a threshold of the best score is chosen from."""
        rows, first = np.arange(len(self.asked)), self.known.first()
        withheld = self.withheld.best.max(axis=1, initial=-np.inf).astype(np.float32)
        return LeaveOneOutQueries(self.known.best[rows, first], first == self.own, withheld, self.own)


def leave_one_out(ready: Ready, bench: Bench, *, most: int, seed: int, fewest: int = 1) -> LeaveOneOut:
    """Ask at most `most` references, encounters whole, while their animal is known and while it is not.

    Args:
        fewest: where fewer than so many are free of a training, all are asked, and the result is `biased`.
    """
    gallery = ready.gallery
    asked, hidden = _whole_encounters(gallery, trained=ready.method.trained, most=most, seed=seed)
    biased = ready.method.trained and gallery.trained.any() and len(asked) < min(fewest, most)
    if biased:
        asked, hidden = _whole_encounters(gallery, trained=False, most=most, seed=seed)
    known = gathered(ready, bench, asked, hidden, encounter=True)
    own = np.searchsorted(np.unique(gallery.labels_g), gallery.labels[asked])
    if ready.scorer.pairwise:
        withheld = known.without(own)
    else:
        withheld = gathered(ready, bench, asked, hidden, encounter=True, withheld=True)
    able = np.isfinite(known.best[np.arange(len(asked)), own])
    return LeaveOneOut(asked[able], own[able], known.part(able), withheld.part(able), bool(biased))


def gathered(
    ready: Ready,
    bench: Bench,
    asked: Positions,
    hidden: NDArray[np.bool_] | None = None,
    *,
    encounter: bool,
    withheld: bool = False,
) -> Animals:
    """What every animal's photos say to all asked photos; see `Ready.animals`."""
    found = Animals.none(len(asked), len(np.unique(ready.gallery.labels_g)))
    for rows, part in ready.animals(bench, asked, encounter=encounter, hidden_g=hidden, withheld=withheld):
        found.fill(rows, part)
    return found


def _whole_encounters(
    gallery: Gallery, *, trained: bool, most: int, seed: int
) -> tuple[Positions, NDArray[np.bool_] | None]:
    """As `asked_references`; photos of one encounter are asked all or none."""
    asked, hidden = asked_references(gallery, trained=trained, most=gallery.references, seed=seed)
    alone = gallery.encounters.max(initial=-1) + 1 + asked
    encounter = np.where(gallery.encounters[asked] >= 0, gallery.encounters[asked], alone)
    names, sizes = np.unique(encounter, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(names))
    fitting = int(np.searchsorted(np.cumsum(sizes[drawn]), most, side="right"))
    return asked[np.isin(encounter, names[drawn[: max(1, fitting)]])], hidden

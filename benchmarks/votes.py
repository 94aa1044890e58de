"""Score photos by LNBNN among any part of a collection, from one comparison of all its photos.

Each descriptor keeps its nearest photos. Which of them vote depends on who may answer, so that a
collection is compared once for any number of divisions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Sift
from reid_ray.datasets.images import read_prepared
from reid_ray.matching.engine import Packed, nearest_images, use_one_thread
from reid_ray.matching.extract import extract
from reid_ray.matching.places import CELLS, LEFT, RIGHT, PlaceWeights, cells_of
from reid_ray.methods.candidate_sets import Shown
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.places import Places, VotesByPlace, decide

NEAREST = 48
"""Photos kept per descriptor; a division that leaves fewer of them than voters need loses its vote."""
BLOCK = 16


def compare(
    packed: Packed, asked: NDArray[np.int64], searched: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
    """Of each descriptor of the asked photos the `NEAREST` of the searched ones, but for its own."""
    few = packed.take(asked)
    among = packed if len(searched) == len(packed) else packed.take(searched)
    own = asked[:, None] == searched[None]
    kept = min(NEAREST, len(searched) - 1)
    squared, near = nearest_images(few, 0, len(few), among, kept=kept, left_out_qg=own)
    return np.sqrt(squared), np.where(near < 0, -1, searched[near]).astype(np.int16)


class Votes:
    """LNBNN of a collection's photos with each other: RootSIFT, or other features, plain distances.

    Attributes:
        table: the collection's `metadata.csv`.
        distances, photos: [descriptors, NEAREST], ascending; the photo itself is not among them.
        offsets: [photos + 1], where each photo's descriptors begin; one that is never asked has none.
        cells: [descriptors], where in its photo each is.
        sides: [photos], `LEFT`, `RIGHT`, or -1 where the table does not say.
    """

    def __init__(self, root: Path, keep: Path | None = None, arrays: Sequence[NDArray] | None = None) -> None:
        """Compare all photos, or load what `keep` has.

        Args:
            arrays: what was compared elsewhere, as `compare` gives it, offsets in place of counts.
        """
        self.table = pd.read_csv(root / "metadata.csv", dtype=str)
        kept = None if keep is None else keep / f"{root.name}.npz"
        if arrays is None and (kept is None or not kept.is_file()):
            arrays = self._compare(root)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, *arrays)
        elif arrays is None:
            with np.load(kept) as file:
                arrays = tuple(file[name] for name in ("arr_0", "arr_1", "arr_2", "arr_3"))
        self.distances, self.photos, self.offsets, self.cells = arrays
        side = self.table.get("orientation", pd.Series("", self.table.index))
        self.sides = side.map({"left": LEFT, "right": RIGHT}).fillna(-1).to_numpy(np.int64)

    def _compare(self, root: Path) -> tuple[NDArray, ...]:
        use_one_thread()
        images = Images(short_px=256)
        read = (read_prepared(str(root), path, images=images).pixels for path in self.table["path"])
        features = extract(read, Sift(root=True))
        packed = Packed.of(features).sketched()
        every = np.arange(len(packed))
        parts = [compare(packed, every[at : at + BLOCK], every) for at in range(0, len(packed), BLOCK)]
        cells = cells_of(features).astype(np.uint8)
        distances, photos = (np.concatenate(one) for one in zip(*parts, strict=True))
        return distances, photos, np.asarray(packed.offsets), cells

    def scores(
        self,
        looking: NDArray[np.int64],
        among: NDArray[np.int64],
        voters: int,
        out_qg: NDArray[np.bool_] | None = None,
        weights: PlaceWeights | None = None,
    ) -> NDArray[np.float32]:
        """By logarithm, float32 [q, g]; minus infinity where `out_qg` says that it must not answer."""
        scores = np.zeros((len(looking), len(among)), np.float32)
        for q, photo, near, voted, votes in self._voted(looking, among, voters, out_qg):
            own = votes
            if weights is not None:
                cells = self.cells[self.offsets[photo] : self.offsets[photo + 1]]
                own = votes * weights.of(cells, np.full(len(cells), self.sides[photo]))[:, None]
            np.add.at(scores[q], near[voted], own[voted])
        scores = np.log1p(np.maximum(scores, 0))
        return scores if out_qg is None else np.where(out_qg, -np.inf, scores)

    def by_place(
        self, looking: NDArray[np.int64], among: NDArray[np.int64], voters: int, out_qg: NDArray[np.bool_]
    ) -> VotesByPlace:
        """The same before they are summed, by the cell of the asked photo."""
        rows, columns, values = [], [], []
        for q, photo, near, voted, votes in self._voted(looking, among, voters, out_qg):
            cells = self.cells[self.offsets[photo] : self.offsets[photo + 1]].astype(np.int64)
            rows.append(np.broadcast_to(q * CELLS + cells[:, None], near.shape)[voted])
            columns.append(near[voted])
            values.append(votes[voted])
        at = np.concatenate(rows), np.concatenate(columns)
        shape = (len(looking) * CELLS, len(among))
        return VotesByPlace(sparse.csr_matrix((np.concatenate(values), at), shape), out_qg)

    def places(
        self,
        among: NDArray[np.int64],
        voters: int,
        out_gg: NDArray[np.bool_],
        identities: NDArray[np.int64],
        asked: NDArray[np.int64] | None = None,
    ) -> Places:
        """What references teach of places, as a local-feature method learns it.

        Args:
            asked: those of `among` that are asked, by position; None: all.
        """
        none = np.full(len(among), -1)
        shown = replace(Shown.nothing(len(among)), sides=self.sides[among])
        gallery = Gallery("", among, len(among), identities[among], none, none, none < -1, shown=shown)
        asked = np.arange(len(among)) if asked is None else asked
        found = self.by_place(among[asked], among, voters, out_gg[asked])
        return decide(found, asked, gallery, seed=0)

    def _voted(
        self,
        looking: NDArray[np.int64],
        among: NDArray[np.int64],
        voters: int,
        out_qg: NDArray[np.bool_] | None,
    ) -> Iterator[tuple[int, int, NDArray[np.int64], NDArray[np.bool_], NDArray[np.float64]]]:
        """Of each asked photo: its number, its position, and [descriptors, NEAREST] the near ones' places,
        whether each got a vote, and how large one.
        """
        place = np.full(len(self.table) + 1, -1)
        place[among] = np.arange(len(among))
        for q, photo in enumerate(looking):
            rows = slice(self.offsets[photo], self.offsets[photo + 1])
            distance, near = self.distances[rows], place[self.photos[rows]]
            there = near >= 0
            if out_qg is not None:
                there &= ~out_qg[q, near]
            rank = np.cumsum(there, axis=1)
            beyond = np.where(there & (rank == voters + 1), distance, 0).sum(axis=1)
            voted = there & (rank <= voters) & (rank[:, -1:] > voters)
            yield q, int(photo), near, voted, beyond[:, None] - distance

"""Score photos by LNBNN among any part of a collection, from one comparison of all its photos.

Each descriptor keeps its nearest photos. Which of them vote depends on who may answer, so that a
collection is compared once for any number of divisions.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Sift
from reid_ray.datasets.images import read_prepared
from reid_ray.matching.engine import Packed, nearest_images, use_one_thread
from reid_ray.matching.extract import extract

NEAREST = 48
"""Photos kept per descriptor; a division that leaves fewer of them than voters need loses its vote."""
BLOCK = 16


class Votes:
    """LNBNN of a collection's photos with each other: RootSIFT, plain distances.

    Attributes:
        table: the collection's `metadata.csv`.
        distances, photos: [descriptors, NEAREST], ascending; the photo itself is not among them.
        offsets: [photos + 1], where each photo's descriptors begin.
    """

    def __init__(self, root: Path, keep: Path | None = None) -> None:
        self.table = pd.read_csv(root / "metadata.csv", dtype=str)
        kept = None if keep is None else keep / f"{root.name}.npz"
        if kept is None or not kept.is_file():
            arrays = self._compare(root)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez(kept, *arrays)
        else:
            with np.load(kept) as file:
                arrays = tuple(file[name] for name in ("arr_0", "arr_1", "arr_2"))
        self.distances, self.photos, self.offsets = arrays

    def _compare(self, root: Path) -> tuple[NDArray, ...]:
        use_one_thread()
        images = Images(short_px=256)
        read = (read_prepared(str(root), path, images=images).pixels for path in self.table["path"])
        packed = Packed.of(extract(read, Sift(root=True))).sketched()
        distances, photos = [], []
        for at in range(0, len(packed), BLOCK):
            few = packed.part(at, min(at + BLOCK, len(packed)))
            own = np.arange(len(few))[:, None] + at == np.arange(len(packed))[None]
            squared, near = nearest_images(few, 0, len(few), packed, kept=NEAREST, left_out_qg=own)
            distances.append(np.sqrt(squared))
            photos.append(near.astype(np.int16))
        return np.concatenate(distances), np.concatenate(photos), np.asarray(packed.offsets)

    def scores(
        self,
        looking: NDArray[np.int64],
        among: NDArray[np.int64],
        voters: int,
        out_qg: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float32]:
        """By logarithm, float32 [q, g]; minus infinity where `out_qg` says that it must not answer."""
        place = np.full(len(self.table) + 1, -1)
        place[among] = np.arange(len(among))
        scores = np.zeros((len(looking), len(among)), np.float32)
        for q, photo in enumerate(looking):
            rows = slice(self.offsets[photo], self.offsets[photo + 1])
            distance, near = self.distances[rows], place[self.photos[rows]]
            there = near >= 0
            if out_qg is not None:
                there &= ~out_qg[q, near]
            rank = np.cumsum(there, axis=1)
            beyond = np.where(there & (rank == voters + 1), distance, 0).sum(axis=1)
            votes = there & (rank <= voters) & (rank[:, -1:] > voters)
            np.add.at(scores[q], near[votes], (beyond[:, None] - distance)[votes])
        scores = np.log1p(np.maximum(scores, 0))
        return scores if out_qg is None else np.where(out_qg, -np.inf, scores)

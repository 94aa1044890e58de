"""Where the animal is in photos of which only its keypoints are matched. In: the table of photos, with what
each collection says. Out: an `Animal` per such photo, and its mask.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.datasets.cutout import COLUMNS, Row
from reid_ray.datasets.masks import read_background
from reid_ray.datasets.schema import KEYPOINTS

_SIZE = (256, 256)
"""Of a mask: keypoints are looked up by their share of the photo's height and width."""


class Animal(NamedTuple):
    """What tells where it is: a mask, or a box alone."""

    row: Row

    def background(self) -> NDArray[np.bool_] | None:
        """True where the photo shows none of the animal, bool [256, 256]; None where nothing tells."""
        row = self.row
        images = Images(crop="bbox" if row.crop == "bbox" else "full")
        return read_background(row._asdict(), images, size_hw=_SIZE, boxes=True, margin=0)


def animals_of(rows: pd.DataFrame) -> dict[int, Animal]:
    """By place in these rows, of the photos of which not all keypoints are matched."""
    if KEYPOINTS not in rows:
        return {}
    kinds = rows[KEYPOINTS].fillna("").astype(str).to_numpy(object)
    columns = [name for name in COLUMNS if name in rows]
    found = {}
    for place in np.flatnonzero((kinds == "box") | (kinds == "mask")):
        record = {name: _plain(rows[name].iloc[place]) for name in columns}
        row = Row.of(record)
        found[int(place)] = Animal(row if kinds[place] == "mask" else row._replace(mask="", segmentation=""))
    return found


def told(animals: Mapping[int, Animal]) -> list[str]:
    """For keys of finished work: nothing where all keypoints are matched."""
    return [f"{place} {one.row}" for place, one in animals.items()]


def _plain(cell: object) -> object:
    """An empty cell of a table is None; a box a tuple."""
    if isinstance(cell, np.ndarray | list | tuple):
        return tuple(float(one) for one in cell)
    return cell if isinstance(cell, str) else None

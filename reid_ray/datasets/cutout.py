"""Cut the animal out of its photo: what a row says of it, and the pixels with the rest painted black.

In: a row of the table of photos. Out: `Row`, which preparing needs; a photo of the animal alone, as the
segmented collections of the MegaDescriptor paper have it (`crop_black`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.datasets.images import MIN_SIDE_PX, BadImage, Pixels
from reid_ray.datasets.masks import UNREADABLE, read_animal

CROP = "crop"
"""Column with what of the photo is looked at."""
COLUMNS = ("root", "path", "bbox", "mask", "segmentation", CROP)


class Row(NamedTuple):
    """What preparing needs to know of a photo.

    Attributes:
        crop: what of it is looked at; None: as `images.crop` says.
    """

    root: str
    path: str
    bbox: Sequence[float] | None
    mask: str = ""
    segmentation: str = ""
    crop: str | None = None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Row":
        """From a record with any of `COLUMNS`."""
        text = {name: str(record.get(name) or "") for name in ("mask", "segmentation", CROP)}
        return cls(
            record["root"],
            record["path"],
            record.get("bbox"),
            text["mask"],
            text["segmentation"],
            text[CROP] or None,
        )

    def kind(self, images: Images) -> str:
        """What of it is looked at."""
        return self.crop or images.crop


def has_mask(row: Row, images: Images) -> bool:
    """Whether its mask is wanted and told."""
    return row.kind(images) == "mask" and bool(row.mask or row.segmentation)


def animal_of(row: Row, images: Images) -> NDArray[np.bool_] | None:
    """True where the upright photo shows the animal; None where the row does not say.

    Raises:
        BadImage: the mask cannot be read, or is empty.
    """
    if not has_mask(row, images):
        return None
    try:
        found = read_animal(row._asdict(), max_pixels=images.max_pixels)
    except UNREADABLE as error:
        raise BadImage(f"its mask cannot be used: {' '.join(str(error).split())[:200]}") from None
    if found is None or not found.any():
        raise BadImage("its mask is empty")
    return found


def digest(animal: NDArray[np.bool_]) -> str:
    """Equal for equal masks."""
    return hashlib.sha256(repr(animal.shape).encode() + np.packbits(animal).tobytes()).hexdigest()[:32]


def cut_out(pixels: Pixels, animal: NDArray[np.bool_]) -> Pixels:
    """The part that holds the animal, with all else black.

    Raises:
        BadImage: less than 32 px are left.
    """
    height, width = pixels.shape[:2]
    mask = cv2.resize(animal.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise BadImage("its mask is empty")
    part = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    if min(part[0].stop - part[0].start, part[1].stop - part[1].start) < MIN_SIDE_PX:
        raise BadImage(f"its mask leaves less than {MIN_SIDE_PX} px")
    # What is black within the animal stays apart from what is painted.
    kept = np.maximum(pixels[part], 1)
    return np.ascontiguousarray(np.where(mask[part][..., None], kept, 0).astype(np.uint8))


def painted(photo: Pixels) -> NDArray[np.bool_]:
    """Where a photo was painted black; at its rim, scaling may have left traces."""
    black = (photo == 0).all(axis=2).astype(np.uint8)
    return np.asarray(cv2.dilate(black, np.ones((3, 3), np.uint8)) > 0)

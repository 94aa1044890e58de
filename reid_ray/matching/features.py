"""Hold the local features of n images in flat arrays, so that processes share them without copies.

Legend: n images, K keypoints of all images together, d descriptor dims.
"""

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.errors import StorageError
from reid_ray.runs import files, seals

_PER_KEYPOINT = ("descriptors", "points_xy", "scales", "responses", "angles")


@dataclass(frozen=True)
class ImageFeatures:
    """Keypoints of one image: descriptors [k, d], points_xy [k, 2] in pixels, scales, responses and angles
    (radians; all 0 where none are given) [k]; `size_px` is the image's (width, height), (0, 0) where unknown.
    """

    descriptors: NDArray[Any]
    points_xy: NDArray[np.float32]
    scales: NDArray[np.float32]
    responses: NDArray[np.float32]
    size_px: tuple[int, int] = (0, 0)
    angles: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if len(self.angles) != len(self.descriptors):
            object.__setattr__(self, "angles", np.zeros(len(self.descriptors), np.float32))

    def __len__(self) -> int:
        return len(self.descriptors)

    def outside(self, black: NDArray[np.bool_]) -> "ImageFeatures":
        """Those keypoints that are not where `black` is, a mask [H, W] of the same photo at any size."""
        kept = np.flatnonzero(~self.within(black))
        return replace(self, **{name: getattr(self, name)[kept] for name in _PER_KEYPOINT})

    def within(self, area: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which keypoints are where `area` is, a mask [H, W] of the same photo at any size."""
        size = np.maximum(self.size_px, 1)
        at = (self.points_xy / size * area.shape[::-1]).astype(np.int64)
        x, y = np.clip(at, 0, np.array(area.shape[::-1]) - 1).T
        return np.asarray(area[y, x])

    def strongest(self, count: int | None) -> "ImageFeatures":
        """At most `count` keypoints of the highest response, in their old order; ties: earlier
        first.
        """
        if count is None or len(self) <= count:
            return self
        kept = np.sort(np.argsort(-self.responses, kind="stable")[:count])
        return replace(self, **{name: getattr(self, name)[kept] for name in _PER_KEYPOINT})


@dataclass(frozen=True)
class Features:
    """Local features of n images, packed.

    Attributes:
        descriptors: [K, d], uint8 (SIFT's bytes) or float32 of unit length.
        offsets: int64 [n + 1], image i owns rows offsets[i]:offsets[i + 1].
        points_xy: float32 [K, 2], pixels of the image that was given to the extractor.
        scales: float32 [K], keypoint diameter in pixels (0 where the extractor has none).
        responses: float32 [K], strength of the keypoint.
        sizes_px: int32 [n, 2], width and height of each image, 0 where unknown.
        angles: float32 [K], in radians (0 where the extractor has none).
    """

    descriptors: NDArray[Any]
    offsets: NDArray[np.int64]
    points_xy: NDArray[np.float32]
    scales: NDArray[np.float32]
    responses: NDArray[np.float32]
    sizes_px: NDArray[np.int32]
    angles: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if len(self.angles) != len(self.descriptors):
            object.__setattr__(self, "angles", np.zeros(len(self.descriptors), np.float32))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def keypoints(self) -> NDArray[np.int64]:
        """Keypoints per image, int64 [n]."""
        return np.diff(self.offsets)

    @property
    def nbytes(self) -> int:
        return sum(getattr(self, one.name).nbytes for one in fields(self))

    def image(self, index: int) -> ImageFeatures:
        """The features of one image, as views."""
        rows = slice(self.offsets[index], self.offsets[index + 1])
        own: dict[str, Any] = {name: getattr(self, name)[rows] for name in _PER_KEYPOINT}
        width, height = self.sizes_px[index].tolist()
        return ImageFeatures(**own, size_px=(width, height))

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> "Features":
        """Copy of the given images, in the given order."""
        if len(indices) == 0:
            return Features(
                self.descriptors[:0],
                np.zeros(1, np.int64),
                self.points_xy[:0],
                self.scales[:0],
                self.responses[:0],
                self.sizes_px[:0],
                self.angles[:0],
            )
        return Features.pack(self.image(int(index)) for index in indices)

    @classmethod
    def pack(cls, images: Iterable[ImageFeatures]) -> "Features":
        """Copy the features of at least one image into flat arrays."""
        kept = list(images)
        if not kept:
            raise ValueError("no images to pack; give at least one")
        offsets = np.zeros(len(kept) + 1, np.int64)
        np.cumsum([len(image) for image in kept], out=offsets[1:])
        joined = {name: np.concatenate([getattr(image, name) for image in kept]) for name in _PER_KEYPOINT}
        sizes_px = np.array([image.size_px for image in kept], np.int32)
        return cls(offsets=offsets, sizes_px=sizes_px, **joined)

    @classmethod
    def concat(cls, parts: Iterable["Features"]) -> "Features":
        """Join features of consecutive images."""
        return cls.pack(part.image(index) for part in parts for index in range(len(part)))

    def save(self, path: Path) -> None:
        """Write one `.npz` file, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, **{one.name: getattr(self, one.name) for one in fields(self)})
        files.write_bytes(path, seals.seal_bytes(buffer.getvalue()))

    @classmethod
    def load(cls, path: Path) -> "Features":
        """Read what `save` wrote; nothing in the file is ever executed.

        Raises:
            StorageError: missing, damaged, or arrays that do not fit together.
        """
        try:
            data = seals.unseal_bytes(files.read_bytes(path), path)
            with np.load(io.BytesIO(data), allow_pickle=False) as stored:
                # Files of extractors without angles may be older than these.
                names = [one.name for one in fields(cls) if one.name != "angles" or one.name in stored]
                features = cls(**{name: stored[name] for name in names})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise StorageError(
                f"{path}: cannot be read as features ({error}); delete it to have it made again"
            ) from None
        if not features._consistent():
            raise StorageError(f"{path}: its arrays do not fit together; delete it to have it made again")
        return features

    def _consistent(self) -> bool:
        """Whether offsets rise from 0 to K and all arrays have K rows."""
        count = len(self.descriptors)
        return (
            self.descriptors.ndim == 2
            and len(self.offsets) >= 1
            and self.offsets[0] == 0
            and self.offsets[-1] == count
            and bool((np.diff(self.offsets) >= 0).all())
            and self.points_xy.shape == (count, 2)
            and self.scales.shape == self.responses.shape == self.angles.shape == (count,)
            and self.sizes_px.shape == (len(self), 2)
        )

"""Hold the prepared photos of a study in three flat arrays, so that processes share them without copies.

In: uint8 images of any size. Out: `PreparedImages`, whose arrays can live in shared memory or a memory map.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PreparedImages:
    """n RGB photos, packed.

    Attributes:
        pixels: uint8 [bytes], all photos one after another, each row by row as [H, W, 3].
        offsets: int64 [n + 1], where each photo begins in `pixels`.
        sizes_hw: int32 [n, 2], height and width in pixels.
    """

    pixels: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    sizes_hw: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.sizes_hw)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """Photo `index` as a read-only uint8 [H, W, 3] view."""
        height, width = self.sizes_hw[index]
        view = self.pixels[self.offsets[index] : self.offsets[index + 1]].reshape(height, width, 3)
        view.flags.writeable = False
        return view

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes + self.offsets.nbytes + self.sizes_hw.nbytes

    @classmethod
    def pack(cls, images: Iterable[NDArray[np.uint8]]) -> "PreparedImages":
        """Copy uint8 [H, W, 3] images into one buffer."""
        kept = list(images)
        sizes_hw = np.array([image.shape[:2] for image in kept], np.int32).reshape(-1, 2)
        offsets = np.zeros(len(kept) + 1, np.int64)
        np.cumsum([image.size for image in kept], out=offsets[1:])
        pixels = np.empty(offsets[-1], np.uint8)
        for image, start, end in zip(kept, offsets, offsets[1:], strict=False):
            pixels[start:end] = image.reshape(-1)
        return cls(pixels, offsets, sizes_hw)

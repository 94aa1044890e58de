"""Count descriptor matches between many images. In: packed features. Out: counts.

Byte descriptors are multiplied as int8 into int32, which is exact. Three ways give the same counts
and the fastest here is taken: multiplied and folded at once in registers (`fused.py`), torch's
int8 product of tiles, or its float32 product (`products.py`). Float descriptors take float32.

Legend: q queries, g references, t thresholds; rows = the side that is searched, columns = the side
    that looks.
"""

import functools
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from reid_ray.matching import fused, ratio, vnni
from reid_ray.matching.packed import Packed

__all__ = ["Packed", "count_block", "fastest_product", "nearest_images", "use_one_thread"]

Product = Literal["fused", "int8", "float32"]
Direction = Literal["reference_to_query", "query_to_reference"]


def use_one_thread() -> None:
    """Keep torch, OpenCV and numpy to the calling process's one CPU; many processes do the rest.

    numpy's threads would not only take other processes' CPUs for a small product, but spin on them
    for a while after it.
    """
    threadpool_limits(1)
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # for torch, where it is loaded later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    cv2.setNumThreads(1)


def count_block(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    thresholds: Sequence[float],
    *,
    mutual: bool = False,
    direction: Direction = "reference_to_query",
    product: Product | None = None,
    least: int = 2,
) -> NDArray[Any]:
    """Matches between queries start:stop and every reference, int32 [q, g, t].

    Where the side that looks has weights (`Packed.weights`), their sum over the matches, float32.

    A descriptor of one image matches if the ratio of the squared distances to its nearest and
    second nearest descriptor in the other image is below the threshold (one float32 division; 0 /
    0 does not match). An image with fewer than two keypoints has no matches.

    Args:
        thresholds: all are counted in one pass.
        mutual: count only descriptors that are in turn the nearest of their nearest.
        direction: `reference_to_query`: descriptors of the reference look for their nearest in the
            query, as in wildlife-tools' MatchDescriptors; `query_to_reference`: the other way
            round.
        product: None takes what `fastest_product` found.
        least: keypoints that an image which looks must have to match at all.
    """
    part = _query_part(queries, start, stop, references)
    if direction == "reference_to_query":
        return _count(part, references, thresholds, mutual, product, least)
    return _count(references, part, thresholds, mutual, product, least).transpose(1, 0, 2)


def _query_part(queries: Packed, start: int, stop: int, references: Packed) -> Packed:
    """These queries, with sketches that can be compared with the references'."""
    part = queries.part(start, stop)
    if references.sketches is None:
        return replace(part, sketches=None)
    return part.sketched(references.sketches.basis)


def _count(
    rows: Packed,
    columns: Packed,
    thresholds: Sequence[float],
    mutual: bool,
    product: Product | None,
    least: int,
) -> NDArray[Any]:
    """Counts [row images, column images, t]."""
    limits = np.asarray(thresholds, np.float32)
    product = _product_for(rows, columns, product)
    if product == "fused":
        counts = fused.count(rows, columns, limits, mutual=mutual)
    else:
        from reid_ray.matching import products

        counts = products.count(rows, columns, limits, mutual=mutual, int8=product == "int8")
    counts[:, np.diff(columns.offsets) < least] = 0
    return counts


def _product_for(rows: Packed, columns: Packed, product: Product | None) -> Product:
    """The product asked for or, for None, the fastest; float descriptors have only one."""
    if rows.descriptors.dtype == np.int8 and columns.descriptors.dtype == np.int8:
        return product or fastest_product()
    return "float32"


def nearest_images(
    queries: Packed,
    start: int,
    stop: int,
    references: Packed,
    *,
    kept: int,
    left_out_qg: NDArray[np.bool_] | None = None,
    product: Product | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """For each descriptor of queries start:stop the `kept` nearest references, each by its nearest
    descriptor.

    Args:
        left_out_qg: references that are as if they were not there, for each of these queries.

    Returns:
        Squared distances (ascending) and reference positions, both [descriptors, kept]; ties:
        lower position first; where there are fewer references, distance `ratio.FAR` and position
        -1.
    """
    part = _query_part(queries, start, stop, references)
    total = len(part.descriptors)
    if left_out_qg is None:
        left_out_qg = np.zeros((len(part), len(references)), np.bool_)
    owners = np.repeat(np.arange(len(part)), np.diff(part.offsets))
    distances = np.full((total, kept), ratio.FAR, np.float32)
    images = np.full((total, kept), -1, np.int64)
    product = _product_for(references, part, product)
    if product == "fused":
        fused.nearest_images(references, part, owners, left_out_qg, distances, images)
    else:
        from reid_ray.matching import products

        products.nearest_images(
            references, part, owners, left_out_qg, distances, images, int8=product == "int8"
        )
    return distances, images


@functools.cache
def fastest_product() -> Product:
    """The fastest product that is right here (extremes, odd sizes), by a short measurement.

    `fused` needs AVX-512 VNNI, `int8` a torch with a correct int8 product; `float32` is everywhere. Without
    AMX `fused` is always the fastest, so that torch, which takes a second or two to load, is not tried.
    """
    fused_is_right = vnni.supported() and vnni.right()
    if fused_is_right and not vnni.has_amx():
        return "fused"
    seconds: dict[Product, float] = {"float32": _seconds("float32")}
    if _int8_is_right():
        seconds["int8"] = _seconds("int8")
    if fused_is_right:
        seconds["fused"] = _seconds("fused")
    return min(seconds, key=lambda name: seconds[name])


def _int8_is_right() -> bool:
    import torch

    rng = np.random.default_rng(0)
    for rows, columns in [(1, 1), (2, 7), (33, 65), (700, 384)]:
        left = rng.integers(-128, 128, (rows, 128), dtype=np.int8)
        right = rng.integers(-128, 128, (columns, 128), dtype=np.int8)
        left[0] = right[0] = -128
        expected = left.astype(np.int32) @ right.astype(np.int32).T
        try:
            found = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).t())
        except RuntimeError:
            return False
        if not np.array_equal(found.numpy(), expected):
            return False
    return True


def _seconds(product: Product, repeats: int = 3) -> float:
    """Shortest of a few counts of one pair with this product."""
    descriptors = np.random.default_rng(0).integers(-128, 128, (512, 128), dtype=np.int8)
    norms = np.einsum("kd,kd->k", descriptors, descriptors, dtype=np.float32)
    image = Packed(descriptors, norms, np.array([0, 512]))
    times = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        count_block(image, 0, 1, image, (0.5,), product=product)
        times.append(time.perf_counter() - begin)
    return min(times)

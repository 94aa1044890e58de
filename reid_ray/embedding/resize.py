"""Resize a box of a photo to a square, bilinear with antialiasing, as torch and Pillow do.

In: uint8 [H, W, 3] and a box. Out: uint8 [px, px, 3], written in place; the same to the last bit as
torch's on a CPU, but where a side shrinks to less than an eighth (there at most one grey level
apart). Compiled by numba, run without the GIL, and faster than torch, which wants a copy of the box.
"""

import math

import numba
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""top, left, height, width in pixels."""

_WEIGHT_LIMIT = 1 << 15
"""Weights are whole numbers below this."""
_MOST_BITS = 18
_HIGH = float(1 << 26)
"""255 x 2^18, the greatest sum, stays below it; its square fits a float64 exactly."""

# Sums are whole numbers, so that a multiplication and an addition in one step change nothing.
_compile = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})


def resize(image: Pixels, box: Box, out: Pixels) -> None:
    """Fill `out`, [px, px, 3], with `box` of `image`; both contiguous."""
    height, width, _ = image.shape
    # Flat, as a box of a photo has no contiguous rows, and numba compiles anew for each layout.
    _resize(image.reshape(height, 3 * width), *box, out.reshape(len(out), -1))


@_compile
def _resize(image, top, left, height, width, out):  # type: ignore[no-untyped-def]
    """Rows are narrowed two at a time, just before the first of the output that needs them."""
    px = len(out)
    image = image[top : top + height, 3 * left : 3 * (left + width)]
    columns, rows = _weights(width, px), _weights(height, px)
    first, count, weights, bits = rows
    kept = weights.shape[1] // 2 * 2 + 2
    narrow = np.empty((kept, 3 * px), np.uint8)
    line, sums = np.empty(3 * width, np.float64), np.empty(3 * px, np.float64)
    totals, done = np.empty(3 * px, np.int32), 0
    for y in range(px):
        while done < first[y] + count[y]:
            other = min(done + 1, height - 1)
            to = narrow[done % kept], narrow[(done + 1) % kept]
            _narrow_two(image[done], image[other], to[0], to[1], line, sums, columns)
            done += 2
        for i in range(len(totals)):
            totals[i] = 1 << (bits - 1)
        for t in range(count[y]):
            row, weight = narrow[(first[y] + t) % kept], weights[y, t]
            for i in range(len(totals)):
                totals[i] += weight * np.int32(row[i])
        to = out[y]
        for i in range(len(totals)):
            to[i] = totals[i] >> bits


@_compile
def _narrow_two(one, other, to_one, to_other, line, sums, columns):  # type: ignore[no-untyped-def]
    """Two rows of bytes [3 W] to [3 px] each.

    Both go through the same multiplication, one in the low and one in the high half of a float64.
    Unsigned indices spare a test for negative ones.
    """
    first, count, weights, bits = columns
    for i in range(len(line)):
        line[i] = np.float64(one[i]) + np.float64(other[i]) * _HIGH
    half = (1 << (bits - 1)) * (1 + _HIGH)
    for x in range(len(first)):
        red, green, blue, at = half, half, half, np.uint64(3 * first[x])
        for t in range(count[x]):
            weight = np.float64(weights[x, t])
            red += weight * line[at]
            green += weight * line[at + np.uint64(1)]
            blue += weight * line[at + np.uint64(2)]
            at += np.uint64(3)
        sums[3 * x], sums[3 * x + 1], sums[3 * x + 2] = red, green, blue
    for i in range(len(sums)):
        both = np.int64(sums[i])
        to_one[i] = (both >> bits) & 255
        to_other[i] = both >> (26 + bits)


@_compile
def _weights(size, px):  # type: ignore[no-untyped-def]
    """Which of `size` pixels make each of `px`, and with what weight.

    Returns:
        (first [px], count [px], weights [px, most], bits): a pixel is the sum of weight x source
        over first .. first + count - 1, divided by 2^bits.
    """
    scale = size / px
    support = max(scale, 1.0)
    most = 2 * math.ceil(support) + 1
    first, count = np.empty(px, np.int64), np.empty(px, np.int64)
    shares, greatest = np.empty((px, most)), 0.0
    for i in range(px):
        centre = scale * (i + 0.5)
        low = max(int(centre - support + 0.5), 0)
        high = min(int(centre + support + 0.5), size)
        first[i], count[i] = low, high - low
        total = 0.0
        for j in range(high - low):
            shares[i, j] = max(0.0, 1 - abs(low + j + 0.5 - centre) / support)
            total += shares[i, j]
        for j in range(high - low):
            shares[i, j] /= total
            greatest = max(greatest, shares[i, j])
    bits = 0
    while bits < _MOST_BITS and int(greatest * (1 << (bits + 1)) + 0.5) < _WEIGHT_LIMIT:
        bits += 1
    weights = np.empty((px, most), np.int32)
    for i in range(px):
        for j in range(count[i]):
            weights[i, j] = int(shares[i, j] * (1 << bits) + 0.5)
    return first, count, weights, bits

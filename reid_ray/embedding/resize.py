"""Resize a box of a photo to a square, bilinear with antialiasing, as torch and Pillow do.

In: uint8 [H, W, 3] and a box. Out: uint8 [px, px, 3], written in place; the same to the last bit as
torch's on a CPU, but where a side shrinks to less than an eighth (there at most one grey level
apart). Compiled by numba, run without the GIL, and faster than torch, which wants a copy of the box.
"""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Box = tuple[int, int, int, int]
"""top, left, height, width in pixels."""

_WEIGHT_LIMIT = 1 << 15
"""Weights are whole numbers below this."""
_MOST_BITS = 18
_HIGH = float(1 << 26)
"""255 x 2^18, the greatest sum, stays below it; its square fits a float64 exactly."""

_EXACT_BITS = 16
"""With weights of no more, a sum of rows has 24 digits, which a float32 holds exactly."""

_F32, _I32 = np.float32, np.int32

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
    # The narrowing takes one pixel and one channel more than there are, at a weight of 0.
    line, sums = np.zeros(3 * (width + columns[2].shape[1]) + 1), np.empty(3 * px + 1)
    shares = columns[2].astype(np.float64)
    totals, done = np.empty(3 * px, np.int32), 0
    for y in range(px):
        while done < first[y] + count[y]:
            other = min(done + 1, height - 1)
            to = narrow[done % kept], narrow[(done + 1) % kept]
            _narrow_two(image[done], image[other], to[0], to[1], line, sums, columns, shares)
            done += 2
        if count[y] <= 3 and bits <= _EXACT_BITS:
            _blend_three(narrow, first[y], weights[y], _F32(1 / (1 << bits)), out[y])
        else:
            _blend(narrow, first[y], weights[y, : count[y]], bits, totals, out[y])


@_compile
def _blend_three(narrow, first, weights, unit, to):  # type: ignore[no-untyped-def]
    """A row of the output from the three that it lies on; the last weights may be 0."""
    kept, half = len(narrow), _F32(0.5)
    a, b, c = narrow[first % kept], narrow[(first + 1) % kept], narrow[(first + 2) % kept]
    w_a, w_b, w_c = _F32(weights[0]) * unit, _F32(weights[1]) * unit, _F32(weights[2]) * unit
    for i in range(len(to)):
        to[i] = _I32(half + w_a * _F32(a[i]) + w_b * _F32(b[i]) + w_c * _F32(c[i]))


@_compile
def _blend(narrow, first, weights, bits, totals, to):  # type: ignore[no-untyped-def]
    """A row of the output from any number of rows."""
    for i in range(len(totals)):
        totals[i] = 1 << (bits - 1)
    for t in range(len(weights)):
        row, weight = narrow[(first + t) % len(narrow)], weights[t]
        for i in range(len(totals)):
            totals[i] += weight * _I32(row[i])
    for i in range(len(totals)):
        to[i] = totals[i] >> bits


@_compile
def _narrow_two(one, other, to_one, to_other, line, sums, columns, shares):  # type: ignore[no-untyped-def]
    """Two rows of bytes [3 W] to [3 px] each.

    Both go through the same multiplication, one in the low and one in the high half of a float64.
    """
    first, _, _, bits = columns
    for i in range(len(one)):
        line[i] = np.float64(one[i]) + np.float64(other[i]) * _HIGH
    half = (1 << (bits - 1)) * (1 + _HIGH)
    pixels, weight, to, taps = (line.ctypes.data, shares.ctypes.data, sums.ctypes.data, shares.shape[1])
    for x in range(len(first)):
        _sum_pixels(pixels + 24 * first[x], weight + 8 * taps * x, taps, half, to + 24 * x)
    for i in range(len(to_one)):
        both = np.int64(sums[i])
        to_one[i] = (both >> bits) & 255
        to_other[i] = both >> (26 + bits)


@intrinsic
def _sum_pixels(typing, pixels, weights, taps, start, to):  # type: ignore[no-untyped-def]
    """At `to`: `start` + the sum of weight x pixel; all but `start` are addresses or numbers.

    A pixel's three channels and the one behind them are one vector, which numba finds no loop for.
    """

    def write(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        pixels, weights, taps, start, to = arguments
        number, word = ir.DoubleType(), ir.IntType(64)
        four = ir.VectorType(number, 4)

        def at(address: Any, index: Any, step: int, kind: Any) -> Any:
            place = builder.add(address, builder.mul(index, word(step)))
            return builder.inttoptr(place, kind.as_pointer())

        def load(pointer: Any) -> Any:
            value = builder.load(pointer)
            value.align = 8
            return value

        def splat(value: Any) -> Any:
            empty = ir.Constant(four, ir.Undefined)
            filled = builder.insert_element(empty, value, ir.IntType(32)(0))
            return builder.shuffle_vector(filled, empty, ir.VectorType(ir.IntType(32), 4)([0] * 4))

        total = cgutils.alloca_once_value(builder, splat(start))
        with cgutils.for_range(builder, taps) as tap:
            weight = splat(load(at(weights, tap.index, 8, number)))
            pixel = load(at(pixels, tap.index, 24, four))
            product = builder.fmul(weight, pixel, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        builder.store(builder.load(total), builder.inttoptr(to, four.as_pointer())).align = 8
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp, types.float64, types.intp), write


@_compile
def _weights(size, px):  # type: ignore[no-untyped-def]
    """Which of `size` pixels make each of `px`, and with what weight.

    Returns:
        (first [px], count [px], weights [px, most], bits): a pixel is the sum of weight x source
        over first .. first + count - 1, divided by 2^bits. Behind that weights are 0, and `most` is
        the greatest count, but 3 at least.
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
    weights = np.zeros((px, max(3, count.max())), np.int32)
    for i in range(px):
        for j in range(count[i]):
            weights[i, j] = int(shares[i, j] * (1 << bits) + 0.5)
    return first, count, weights, bits

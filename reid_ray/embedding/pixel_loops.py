"""RandAugment's operations as loops over the pixels of one photo, compiled by numba, without the GIL.

In: uint8 [H, W, 3] or its rows as bytes [H, 3 W], whichever makes the inner loop one vector
instruction stream. Out: the same shape, written in place to another array. Sums are float32 in the
order of torchvision's, cut off where it cuts off.
"""

import math

import numba
import numpy as np

_compile = numba.njit(nogil=True, cache=True, error_model="numpy")
_F32, _I32, _U64 = np.float32, np.int32, np.uint64


@_compile
def _to_byte(value):  # type: ignore[no-untyped-def]
    """Clamp to 0..255 and cut off the fraction."""
    return np.uint8(_I32(min(max(value, _F32(0)), _F32(255))))


@_compile
def scale(source, out, factor, shift):  # type: ignore[no-untyped-def]
    """`factor` x value + `shift`, on rows of bytes."""
    for y in range(len(source)):
        row, to = source[y], out[y]
        for i in range(len(row)):
            to[i] = _to_byte(_F32(row[i]) * factor + shift)


@_compile
def keep_bits(source, out, mask):  # type: ignore[no-untyped-def]
    """value & `mask`, on rows of bytes."""
    for y in range(len(source)):
        row, to = source[y], out[y]
        for i in range(len(row)):
            to[i] = row[i] & mask


@_compile
def invert_from(source, out, threshold):  # type: ignore[no-untyped-def]
    """255 - value where it is `threshold` or more, on rows of bytes."""
    for y in range(len(source)):
        row, to = source[y], out[y]
        for i in range(len(row)):
            to[i] = row[i] if _F32(row[i]) < threshold else np.uint8(255) - row[i]


@_compile
def _grey(red, green, blue):  # type: ignore[no-untyped-def]
    """Cut off to a whole number."""
    return _I32(_F32(red) * _F32(0.2989) + _F32(green) * _F32(0.587) + _F32(blue) * _F32(0.114))


@_compile
def saturate(source, out, factor):  # type: ignore[no-untyped-def]
    """`factor` x value + (1 - `factor`) x grey, on rows of bytes."""
    rest = _F32(1) - factor
    for y in range(len(source)):
        row, to = source[y], out[y]
        for x in range(len(row) // 3):
            r, g, b = _U64(3 * x), _U64(3 * x + 1), _U64(3 * x + 2)  # unsigned: none is negative
            shade = _F32(_grey(row[r], row[g], row[b])) * rest
            to[r] = _to_byte(_F32(row[r]) * factor + shade)
            to[g] = _to_byte(_F32(row[g]) * factor + shade)
            to[b] = _to_byte(_F32(row[b]) * factor + shade)


@_compile
def mean_grey(source):  # type: ignore[no-untyped-def]
    """Mean over the pixels of rows of bytes."""
    total = 0
    for y in range(len(source)):
        row, of_row = source[y], _I32(0)
        for x in range(len(row) // 3):
            of_row += _grey(row[_U64(3 * x)], row[_U64(3 * x + 1)], row[_U64(3 * x + 2)])
        total += int(of_row)
    return total / (source.size // 3)


@_compile
def sharpen(source, out, factor):  # type: ignore[no-untyped-def]
    """`factor` x value + (1 - `factor`) x smoothed value, the border as it is, on rows of bytes.

    Smoothed: the 3 x 3 neighbours at weight 1, the value itself at 5, over 13, rounded.
    """
    rest, last = _F32(1) - factor, len(source) - 1
    columns = np.empty(source.shape[1], np.int32)
    left, middle, right = columns[:-6], columns[3:-3], columns[6:]
    for y in range(len(source)):
        row, to = source[y], out[y]
        for i in range(len(row)):
            to[i] = row[i]
        if 0 < y < last:
            above, below = source[y - 1], source[y + 1]
            for i in range(len(row)):
                columns[i] = _I32(above[i]) + _I32(row[i]) + _I32(below[i])
            row, to = row[3:-3], to[3:-3]
            for i in range(len(row)):
                total = left[i] + middle[i] + right[i] + _I32(4) * _I32(row[i])
                smooth = _F32(_I32(_F32(total) * _F32(1 / 13) + _F32(0.5)))
                to[i] = _to_byte(_F32(row[i]) * factor + smooth * rest)


@_compile
def look_up(source, out, table):  # type: ignore[no-untyped-def]
    """Replace each value by that of `table`, [256, 3], on pixels."""
    for y in range(len(source)):
        row, to = source[y], out[y]
        for x in range(len(row)):
            to[x, 0] = table[row[x, 0], 0]
            to[x, 1] = table[row[x, 1], 1]
            to[x, 2] = table[row[x, 2], 2]


@_compile
def stretching_table(source):  # type: ignore[no-untyped-def]
    """Table for `look_up` that brings each channel of rows of bytes to 0..255; flat ones stay."""
    low, high = source[0].copy(), source[0].copy()
    for y in range(1, len(source)):
        row = source[y]
        for i in range(len(row)):
            low[i], high[i] = min(low[i], row[i]), max(high[i], row[i])
    table = np.empty((256, 3), np.uint8)
    for channel in range(3):
        least, span = _F32(low[channel::3].min()), _F32(high[channel::3].max())
        span -= least
        if span == 0:
            least, span = _F32(0), _F32(255)
        for value in range(256):
            table[value, channel] = _to_byte((_F32(value) - least) * _F32(255) / span)
    return table


@_compile
def equalizing_table(source):  # type: ignore[no-untyped-def]
    """Pillow's table for `look_up` on pixels: how many are darker, over a step, so that 0 stays 0."""
    # Neighbours are often alike; counted apart, none waits for the other's count.
    counts = np.zeros((4, 256, 3), np.int32)
    for y in range(len(source)):
        row = source[y]
        for x in range(len(row)):
            for channel in range(3):
                counts[x & 3, row[x, channel], channel] += 1
    table = np.empty((256, 3), np.uint8)
    for channel in range(3):
        of_value = counts[:, :, channel].sum(axis=0)
        step = (of_value.sum() - of_value[np.nonzero(of_value)[0][-1]]) // 255
        darker = 0
        for value in range(256):
            table[value, channel] = min((darker + step // 2) // step, 255) if step else value
            darker += of_value[value]
    return table


@_compile
def shift_rows(source, out, right, down, shear):  # type: ignore[no-untyped-def]
    """Move rows of bytes by whole pixels, black outside: row y by `down`, `right` - shear (y + 1/2)."""
    height, width = source.shape
    for y in range(height):
        to = out[y]
        for i in range(width):
            to[i] = 0
        move = 3 * (right - math.floor(shear * (y + 0.5) + 0.5))
        if 0 <= y - down < height and abs(move) < width:
            row = source[y - down, max(-move, 0) : width - max(move, 0)]
            to = to[max(move, 0) : width - max(-move, 0)]
            for i in range(len(row)):
                to[i] = row[i]


@_compile
def warp(source, out, matrix, centre):  # type: ignore[no-untyped-def]
    """The pixel nearest to `matrix` times the position in `out`, both from `centre`; black outside.

    Args:
        matrix: (x by x, x by y, y by x, y by y).
        centre: (x, y) from the photo's corner, as torchvision's, so centres of pixels lie at halves.
    """
    height, width, _ = source.shape
    flat, places = source.reshape(-1), np.empty(width, np.int64)
    by_x, x_by_y, by_y, y_by_y = matrix
    middle_x, middle_y = centre[0] - 0.5, centre[1] - 0.5
    right = middle_x - (by_x * middle_x + x_by_y * middle_y)
    down = middle_y - (by_y * middle_x + y_by_y * middle_y)
    for y in range(height):
        x_0 = x_by_y * y + right + 0.5
        y_0 = y_by_y * y + down + 0.5
        for x in range(width):
            column, row = math.floor(x_0 + by_x * x), math.floor(y_0 + by_y * x)
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            places[x] = 3 * (row * width + column) if inside else -1
        to = out[y]
        for x in range(width):
            if places[x] < 0:
                to[x, 0], to[x, 1], to[x, 2] = 0, 0, 0
            else:
                at = _U64(places[x])  # unsigned: no test for a negative index
                to[x, 0], to[x, 1] = flat[at], flat[at + _U64(1)]
                to[x, 2] = flat[at + _U64(2)]


IDENTITY, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, ROTATE = range(6)
BRIGHTNESS, COLOUR, CONTRAST, SHARPNESS, POSTERIZE, SOLARIZE, AUTO_CONTRAST, EQUALIZE = range(6, 14)


@_compile
def operate(photos, out, codes, signs, strength):  # type: ignore[no-untyped-def]
    """Several operations one after the other, as each return to Python waits for its lock.

    Args:
        photos: [2, H, W, 3], the photo and room for another.
        out: [H, W, 3], where the result of the last one goes.
        codes, signs: of each operation, at least one; a sign is 1 or -1.
        strength: 0..1.
    """
    for n in range(len(codes)):
        to = out if n + 1 == len(codes) else photos[(n + 1) % 2]
        if codes[n] <= ROTATE:
            _move(photos[n % 2], to, codes[n], strength * signs[n])
        else:
            _recolour(photos[n % 2], to, codes[n], strength, signs[n])


@_compile
def _move(source, out, code, strength):  # type: ignore[no-untyped-def]
    height, width, _ = source.shape
    rows, to = source.reshape(height, 3 * width), out.reshape(height, 3 * width)
    right, down = int(150 / 331 * width * strength), int(150 / 331 * height * strength)
    if code == SHEAR_X:
        shift_rows(rows, to, 0, 0, 0.3 * strength)
    elif code == SHEAR_Y:
        warp(source, out, (1.0, 0.0, 0.3 * strength, 1.0), (0.0, 0.0))
    elif code == TRANSLATE_X:
        shift_rows(rows, to, right, 0, 0.0)
    elif code == TRANSLATE_Y:
        shift_rows(rows, to, 0, down, 0.0)
    elif code == ROTATE:
        cos, sin = math.cos(math.radians(30 * strength)), math.sin(math.radians(30 * strength))
        warp(source, out, (cos, -sin, sin, cos), (width / 2, height / 2))
    else:
        out[:] = source


@_compile
def _recolour(source, out, code, strength, sign):  # type: ignore[no-untyped-def]
    height, width, _ = source.shape
    rows, to = source.reshape(height, 3 * width), out.reshape(height, 3 * width)
    factor = 1 + 0.9 * strength * sign
    if code == BRIGHTNESS:
        scale(rows, to, _F32(factor), _F32(0))
    elif code == COLOUR:
        saturate(rows, to, _F32(factor))
    elif code == CONTRAST:
        scale(rows, to, _F32(factor), _F32(mean_grey(rows) * (1 - factor)))
    elif code == SHARPNESS:
        sharpen(rows, to, _F32(factor))
    elif code == POSTERIZE:
        keep_bits(rows, to, np.uint8(256 - 2 ** round(4 * strength)))
    elif code == SOLARIZE:
        invert_from(rows, to, _F32(255 * (1 - strength)))
    elif code == AUTO_CONTRAST:
        look_up(source, out, stretching_table(rows))
    else:
        look_up(source, out, equalizing_table(source))

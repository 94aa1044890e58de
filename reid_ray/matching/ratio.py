"""Fold a tile of descriptor products into best-two distances and count what passes the ratio test.

A tile holds the products of `rows` (descriptors of whole images, the side that is searched) with
`columns` (descriptors that look for their nearest two). Squared distance = row norm + column norm
- 2 product. For byte descriptors all terms are whole numbers below 2^24, so float32 holds them
exactly.

The passes are compiled by numba, run without the GIL, and walk along rows, so that the inner loop
is one vector instruction stream; nothing but the best two per column is kept.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.compiled import compiled

FAR = np.float32(3e38)


@compiled()
def _fold_rows(product, row_norms, start, stop, best, second):  # type: ignore[no-untyped-def]
    """Best and second best of (row norm - 2 product) per column over rows start:stop."""
    columns = product.shape[1]
    two = np.float32(2)
    for c in range(columns):
        best[c] = FAR
        second[c] = FAR
    r = start
    # Four rows at a time: loads and stores of best/second are paid once per four.
    while r + 4 <= stop:
        p0, p1, p2, p3 = product[r], product[r + 1], product[r + 2], product[r + 3]
        n0, n1, n2, n3 = row_norms[r], row_norms[r + 1], row_norms[r + 2], row_norms[r + 3]
        for c in range(columns):
            d0 = n0 - two * np.float32(p0[c])
            d1 = n1 - two * np.float32(p1[c])
            d2 = n2 - two * np.float32(p2[c])
            d3 = n3 - two * np.float32(p3[c])
            low_a = d0 if d0 < d1 else d1
            high_a = d1 if d0 < d1 else d0
            low_b = d2 if d2 < d3 else d3
            high_b = d3 if d2 < d3 else d2
            low = low_a if low_a < low_b else low_b
            middle = low_b if low_a < low_b else low_a
            high = high_a if high_a < high_b else high_b
            runner = middle if middle < high else high
            old = best[c]
            losing = low if old < low else old
            runner = runner if runner < losing else losing
            second[c] = runner if runner < second[c] else second[c]
            best[c] = old if old < low else low
        r += 4
    while r < stop:
        p0, n0 = product[r], row_norms[r]
        for c in range(columns):
            d0 = n0 - two * np.float32(p0[c])
            old = best[c]
            losing = d0 if old < d0 else old
            second[c] = losing if losing < second[c] else second[c]
            best[c] = old if old < d0 else d0
        r += 1


@compiled()
def count_columns(best, second, norms, bounds, thresholds, weights, counts):  # type: ignore[no-untyped-def]
    """Add to counts [images, thresholds] the columns whose ratio is below each threshold.

    `best`, `second` and `norms` are float32, or int32 where all terms are whole numbers. Each column
    counts its weight; without `weights`, 1.
    """
    for s in range(len(bounds) - 1):
        for c in range(bounds[s], bounds[s + 1]):
            ratio = np.float32(best[c] + norms[c]) / np.float32(second[c] + norms[c])
            for t in range(len(thresholds)):
                if weights is None:
                    counts[s, t] += ratio < thresholds[t]
                elif ratio < thresholds[t]:
                    counts[s, t] += weights[c]


@compiled()
def count_tile(  # type: ignore[no-untyped-def]
    product, row_norms, column_norms, row_bounds, column_bounds, thresholds, weights, counts, best, second
):
    """Add to counts [row images, column images, thresholds] the columns whose ratio is below each
    threshold.
    """
    for g in range(len(row_bounds) - 1):
        start, stop = row_bounds[g], row_bounds[g + 1]
        if stop - start >= 2:
            _fold_rows(product, row_norms, start, stop, best, second)
            count_columns(best, second, column_norms, column_bounds, thresholds, weights, counts[g])


@compiled()
def count_tile_mutual(  # type: ignore[no-untyped-def]
    product, row_norms, column_norms, row_bounds, column_bounds, thresholds, weights, counts, best, second
):
    """As `count_tile`, for columns that are in turn the nearest of their nearest row.

    Column images must be whole. Among columns equally near to a row, the first is its nearest.
    Below a ratio of 1 the nearest row is the only one at its distance, so it needs no tie rule.
    """
    highest = thresholds.max()
    nearest_row = np.empty(product.shape[1], np.int32)
    nearest_column = np.empty(product.shape[0], np.int64)
    for g in range(len(row_bounds) - 1):
        start, stop = row_bounds[g], row_bounds[g + 1]
        if stop - start < 2:
            continue
        _fold_rows_indexed(product, row_norms, start, stop, best, second, nearest_row)
        for s in range(len(column_bounds) - 1):
            first, last = column_bounds[s], column_bounds[s + 1]
            nearest_column[start:stop] = -1
            for c in range(first, last):
                ratio = (best[c] + column_norms[c]) / (second[c] + column_norms[c])
                # Few columns pass the ratio test, so only their rows look back.
                if not ratio < highest:
                    continue
                r = nearest_row[c]
                if nearest_column[r] < 0:
                    nearest_column[r] = _nearest_column(product, column_norms, r, first, last)
                if nearest_column[r] == c:
                    for t in range(len(thresholds)):
                        if weights is None:
                            counts[g, s, t] += ratio < thresholds[t]
                        elif ratio < thresholds[t]:
                            counts[g, s, t] += weights[c]


@compiled()
def _fold_rows_indexed(product, row_norms, start, stop, best, second, nearest):  # type: ignore[no-untyped-def]
    """As `_fold_rows`, and the (first) row of the best."""
    columns = product.shape[1]
    two = np.float32(2)
    for c in range(columns):
        best[c] = FAR
        second[c] = FAR
    for r in range(start, stop):
        p, n, row = product[r], row_norms[r], np.int32(r)
        for c in range(columns):
            d = n - two * np.float32(p[c])
            old = best[c]
            losing = d if old < d else old
            second[c] = losing if losing < second[c] else second[c]
            nearest[c] = row if d < old else nearest[c]
            best[c] = d if d < old else old


@compiled(fastmath={"nnan", "nsz"})
def _nearest_column(product, column_norms, row, first, last):  # type: ignore[no-untyped-def]
    """First column of first:last that is nearest to `row`: a vector pass, then a look for it."""
    two = np.float32(2)
    p = product[row]
    least = FAR
    for c in range(first, last):
        d = column_norms[c] - two * np.float32(p[c])
        least = d if d < least else least
    for c in range(first, last):
        if column_norms[c] - two * np.float32(p[c]) == least:
            return c
    return first


@compiled()
def nearest_images_tile(  # type: ignore[no-untyped-def]
    product,
    row_norms,
    column_norms,
    row_bounds,
    first_image,
    owners,
    left_out,
    distances,
    images,
    best,
    second,
):
    """Keep, per column, the nearest images seen so far, each by its nearest row.

    Columns of owner q pass over the images that `left_out` [q, g] marks.
    """
    for g in range(len(row_bounds) - 1):
        start, stop = row_bounds[g], row_bounds[g + 1]
        if stop > start:
            _fold_rows(product, row_norms, start, stop, best, second)
            for c in range(product.shape[1]):
                if not left_out[owners[c], first_image + g]:
                    distance = best[c] + column_norms[c]
                    insert_image(distance, first_image + g, distances[c], images[c])


@compiled()
def insert_image(distance, image, distances, images):  # type: ignore[no-untyped-def]
    """Put an image into a column's list of `kept` nearest, if it is nearer than the last.

    The list is sorted by distance; among equals the earlier image stays first.
    """
    place = len(distances) - 1
    if not distance < distances[place]:
        return
    while place > 0 and distance < distances[place - 1]:
        distances[place] = distances[place - 1]
        images[place] = images[place - 1]
        place -= 1
    distances[place] = distance
    images[place] = image


def scratch(columns: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two float32 buffers that the passes above write into."""
    return np.empty(columns, np.float32), np.empty(columns, np.float32)

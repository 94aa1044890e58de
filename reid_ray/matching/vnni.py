"""Multiply bytes and keep the best two in one go, in AVX-512 VNNI instructions. In: int8. Out: int32.

Products are folded in registers and never written to memory, which is what bounds a separate matrix
product at a descriptor's short length. numba brings LLVM along, so no compiler is needed: `_block`
writes the instructions, numba compiles and caches them like its own.

Layout: rows (the side that is searched) stay as they are, int8 [K, d]. Columns (the side that
looks) are packed 16 at a time into a panel [d/4, 16, 4] of bytes plus 128, 2 KB for SIFT: one
`vpdpbusd` multiplies four bytes of 16 columns with four bytes of a row and adds the sums to 16
int32. Four rows are under way at a time, as the instruction takes four cycles. A panel stays in the
level-1 cache while rows stream past it.

Plus 128 on one side adds 128 sum(row) to a product; `constants_of` takes it back out. The number
that is folded is (squared row norm - 2 product), exact in int32.
"""

import functools
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from reid_ray.matching.sketch import INDEX_BITS

LANES = 16
ROWS = 4
FAR = np.int32(2**31 - 1)

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I32, LANES)
_BYTES = 4 * LANES
_ANY = ir.Constant(_VECTOR, ir.Undefined)

_compile = numba.njit(nogil=True, cache=True, error_model="numpy")


def supported() -> bool:
    """Whether numba compiles for a processor with AVX-512 VNNI; elsewhere LLVM would abort."""
    return "+avx512vnni" in cpu_target.target_context.codegen()._tm_features


class _Writer:
    """The few things that `_block` says to LLVM; addresses are int64."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def load(self, address: Any, offset: Any, kind: Any = _VECTOR) -> Any:
        value = self.builder.load(self._pointer(address, offset, kind))
        value.align = 4
        return value

    def store(self, value: Any, address: Any, offset: Any) -> None:
        self.builder.store(value, self._pointer(address, offset, value.type)).align = 4

    def _pointer(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def splat(self, value: Any) -> Any:
        """The int32 in all 16 lanes."""
        first = self.builder.insert_element(_ANY, value, _I32(0))
        return self.builder.shuffle_vector(first, _ANY, ir.VectorType(_I32, LANES)([0] * LANES))

    def dot(self, sums: Any, columns: Any, row: Any) -> Any:
        """sums + the dot products of each lane's four unsigned and four signed bytes."""
        kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        name = "llvm.x86.avx512.vpdpbusd.512"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [sums, columns, row])

    def products(self, rows: list[Any], panel: Any, groups: Any) -> list[Any]:
        """Sums of a panel with each row (addresses), over `groups` times four bytes."""
        builder, before = self.builder, self.builder.block
        loop, after = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        group = builder.phi(_I64)
        sums = [builder.phi(_VECTOR) for _ in rows]
        columns = self.load(panel, builder.mul(group, _I64(_BYTES)))
        four = builder.mul(group, _I64(4))
        added = [
            self.dot(total, columns, self.splat(self.load(row, four, _I32)))
            for total, row in zip(sums, rows, strict=True)
        ]
        following = builder.add(group, _I64(1))
        starts, ends = [_I64(0), *[_VECTOR([0] * LANES)] * len(rows)], [following, *added]
        for phi, start, end in zip([group, *sums], starts, ends, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(end, loop)
        builder.cbranch(builder.icmp_signed("<", following, groups), loop, after)
        builder.position_at_end(after)
        return added

    def lower(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)


def _block(count: int, *, indexed: bool = False, shift: int = 1) -> Any:
    """A numba function that folds `count` rows into a panel's best, second (and nearest row).

    What is folded is (constant of the row - product * 2^shift), modulo 2^32.
    Its arguments are addresses and whole numbers, all int64: (first row, bytes per row, the rows'
    constants, panel, groups of four bytes, best, second, nearest, number of the first row).
    """

    @intrinsic
    def block(  # type: ignore[no-untyped-def]
        typing, rows, stride, constants, panel, groups, best, second, nearest, number
    ):
        def write(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            rows, stride, constants, panel, groups, best, second, nearest, number = arguments
            writer = _Writer(builder)
            lines = [builder.add(rows, builder.mul(stride, _I64(r))) for r in range(count)]
            sums = writer.products(lines, panel, groups)
            low, high = writer.load(best, _I64(0)), writer.load(second, _I64(0))
            row = writer.load(nearest, _I64(0)) if indexed else None
            for r, total in enumerate(sums):
                constant = writer.splat(writer.load(constants, _I64(4 * r), _I32))
                value = builder.sub(constant, builder.shl(total, _VECTOR([shift] * LANES)))
                nearer = builder.icmp_signed("<", value, low)
                high = writer.lower(builder.select(nearer, low, value), high)
                low = builder.select(nearer, value, low)
                if indexed:
                    own = builder.trunc(builder.add(number, _I64(r)), _I32)
                    row = builder.select(nearer, writer.splat(own), row)
            writer.store(low, best, _I64(0))
            writer.store(high, second, _I64(0))
            if indexed:
                writer.store(row, nearest, _I64(0))
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), write

    return block


_four, _one = _block(ROWS), _block(1)
_four_indexed, _one_indexed = _block(ROWS, indexed=True), _block(1, indexed=True)
_four_keys, _one_keys = _block(ROWS, shift=INDEX_BITS + 1), _block(1, shift=INDEX_BITS + 1)


@_compile
def fold(rows, constants, start, stop, panel, best, second):  # type: ignore[no-untyped-def]
    """Best and second best of (row norm - 2 product) over rows start:stop, per column of a panel.

    Args:
        rows: int8 [K, d], d a multiple of 4.
        constants: int32 [K] of `constants_of(rows)`.
        panel: uint8 [d/4 * 64], from `pack`.
        best, second: int32 [16], written.
    """
    best[:] = FAR
    second[:] = FAR
    stride, groups = rows.shape[1], rows.shape[1] // 4
    row, constant = rows.ctypes.data + start * stride, constants.ctypes.data + 4 * start
    to, low, high = panel.ctypes.data, best.ctypes.data, second.ctypes.data
    for _ in range((stop - start) // ROWS):
        _four(row, stride, constant, to, groups, low, high, 0, 0)
        row += ROWS * stride
        constant += 4 * ROWS
    for _ in range((stop - start) % ROWS):
        _one(row, stride, constant, to, groups, low, high, 0, 0)
        row += stride
        constant += 4


@_compile
def fold_keys(rows, constants, start, stop, panel, best, second):  # type: ignore[no-untyped-def]
    """As `fold`, of keys: (row norm - 2 product) * 2^INDEX_BITS + row number in its image.

    Args:
        constants: of `keyed(rows, bounds)`.
    """
    best[:] = FAR
    second[:] = FAR
    stride, groups = rows.shape[1], rows.shape[1] // 4
    row, constant = rows.ctypes.data + start * stride, constants.ctypes.data + 4 * start
    to, low, high = panel.ctypes.data, best.ctypes.data, second.ctypes.data
    for _ in range((stop - start) // ROWS):
        _four_keys(row, stride, constant, to, groups, low, high, 0, 0)
        row += ROWS * stride
        constant += 4 * ROWS
    for _ in range((stop - start) % ROWS):
        _one_keys(row, stride, constant, to, groups, low, high, 0, 0)
        row += stride
        constant += 4


@_compile
def fold_indexed(  # type: ignore[no-untyped-def]
    rows, constants, start, stop, panel, best, second, nearest
):
    """As `fold`, and `nearest`, int32 [16]: the first row that has the best."""
    best[:] = FAR
    second[:] = FAR
    stride, groups = rows.shape[1], rows.shape[1] // 4
    row, constant = rows.ctypes.data + start * stride, constants.ctypes.data + 4 * start
    to, low, high, at = panel.ctypes.data, best.ctypes.data, second.ctypes.data, nearest.ctypes.data
    number = start
    while number + ROWS <= stop:
        _four_indexed(row, stride, constant, to, groups, low, high, at, number)
        row += ROWS * stride
        constant += 4 * ROWS
        number += ROWS
    while number < stop:
        _one_indexed(row, stride, constant, to, groups, low, high, at, number)
        row += stride
        constant += 4
        number += 1


@_compile
def constants_of(rows):  # type: ignore[no-untyped-def]
    """Squared norm + 256 sum of each row, int32 [K]."""
    constants = np.empty(len(rows), np.int32)
    for r in range(len(rows)):
        total = np.int32(0)
        for value in rows[r]:
            total += np.int32(value) * (np.int32(value) + np.int32(256))
        constants[r] = total
    return constants


@_compile
def keyed(rows, bounds):  # type: ignore[no-untyped-def]
    """`constants_of(rows)` for `fold_keys`; images are rows bounds[i]:bounds[i + 1]."""
    constants = constants_of(rows)
    for image in range(len(bounds) - 1):
        for row in range(bounds[image], bounds[image + 1]):
            constants[row] = (constants[row] << INDEX_BITS) + (row - bounds[image])
    return constants


@_compile
def pack(source, numbers, panel):  # type: ignore[no-untyped-def]
    """Write up to 16 rows of `source` (int8 [K, d]) into a panel; lanes left over hold old bytes."""
    words, to = source.view(np.uint32), panel.view(np.uint32)
    for lane in range(len(numbers)):
        line = words[numbers[lane]]
        for group in range(len(line)):
            to[group * LANES + lane] = line[group] ^ np.uint32(0x80808080)


@functools.cache
def right() -> bool:
    """Whether the kernel gives what a plain product gives, at the ends of the range too."""
    rng = np.random.default_rng(0)
    rows = rng.integers(-128, 128, (23, 132), dtype=np.int8)
    columns = rng.integers(-128, 128, (LANES, 132), dtype=np.int8)
    rows[0] = columns[0] = -128
    rows[1] = columns[1] = 127
    expected = (rows.astype(np.int32) ** 2).sum(1)[:, None]
    expected = expected - 2 * rows.astype(np.int32) @ columns.astype(np.int32).T
    panel = np.zeros(132 * LANES, np.uint8)
    pack(columns, np.arange(LANES), panel)
    found = np.zeros((3, LANES), np.int32)
    fold_indexed(rows, constants_of(rows), 0, 23, panel, *found)
    two, nearest = np.sort(expected, axis=0)[:2], expected.argmin(axis=0)
    same = np.array_equal(found, [*two, nearest])
    fold(rows, constants_of(rows), 0, 23, panel, *found[:2])
    return same and np.array_equal(found[:2], two)


def aligned(count: int) -> NDArray[np.uint8]:
    """Zeroed bytes that begin at a cache line."""
    raw = np.zeros(count + _BYTES, np.uint8)
    start = -raw.ctypes.data % _BYTES
    return raw[start : start + count]

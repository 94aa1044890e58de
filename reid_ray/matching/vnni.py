"""Multiply bytes and keep the best two in one go, in AVX-512 VNNI instructions. In: int8. Out: int32.

Products are folded in registers and never written to memory, which is what bounds a separate matrix
product at a descriptor's short length. numba brings LLVM along, so no compiler is needed: `_sweep`
writes the instructions, numba compiles and caches them like its own.

Layout: rows (the side that is searched) stay as they are, int8 [K, d]. Columns (the side that
looks) are packed 16 at a time into a panel [d/4, 16, 4] of bytes plus 128, 2 KB for SIFT: one
`vpdpbusd` multiplies four bytes of 16 columns with four bytes of a row and adds the sums to 16
int32. Four rows are under way at a time, as the instruction takes four cycles. A panel stays in the
level-1 cache while rows stream past it.

Plus 128 on one side adds 128 sum(row) to a product; `constants_of` takes it back out. The number
that is folded is (squared row norm - 2 product), exact in int32; below, a row's value.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from reid_ray.matching.compiled import compiled
from reid_ray.matching.sketch import INDEX_BITS

LANES = 16
ROWS = 4
FAR = np.int32(2**31 - 1)

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_VECTOR = ir.VectorType(_I32, LANES)
_BYTES = 4 * LANES
_ANY = ir.Constant(_VECTOR, ir.Undefined)
_HERE = _I64(0)


def supported() -> bool:
    """Whether numba compiles for a processor with AVX-512 VNNI; elsewhere LLVM would abort."""
    return "+avx512vnni" in cpu_target.target_context.codegen()._tm_features


def has_amx() -> bool:
    """Whether the processor multiplies tiles of bytes (AMX), as torch does and this kernel does not."""
    return "+amx-int8" in cpu_target.target_context.codegen()._tm_features


class _Writer:
    """The few things that are said to LLVM here; addresses are int64."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def load(self, address: Any, offset: Any = _HERE, kind: Any = _VECTOR) -> Any:
        value = self.builder.load(self._pointer(address, offset, kind))
        value.align = 4
        return value

    def store(self, value: Any, address: Any, offset: Any = _HERE) -> None:
        self.builder.store(value, self._pointer(address, offset, value.type)).align = 2

    def _pointer(self, address: Any, offset: Any, kind: Any) -> Any:
        return self.builder.inttoptr(self.builder.add(address, offset), kind.as_pointer())

    def splat(self, value: Any) -> Any:
        """The int32 in all 16 lanes."""
        first = self.builder.insert_element(_ANY, value, _I32(0))
        return self.builder.shuffle_vector(first, _ANY, ir.VectorType(_I32, LANES)([0] * LANES))

    def call(self, name: str, kind: Any, *values: Any) -> Any:
        """What an intrinsic of LLVM gives."""
        signature = ir.FunctionType(kind, [value.type for value in values])
        function = cgutils.get_or_insert_function(self.builder.module, signature, name)
        return self.builder.call(function, values)

    def dot(self, sums: Any, unsigned: Any, signed: Any) -> Any:
        """sums + the dot products of each lane's four unsigned and four signed bytes."""
        return self.call("llvm.x86.avx512.vpdpbusd.512", _VECTOR, sums, unsigned, signed)

    def repeat(self, count: Any, vectors: int, step: Callable[[Any, list[Any]], list[Any]]) -> Any:
        """Vectors, zero at first, after `count` >= 1 times `step` (its number, vectors)."""
        builder, before = self.builder, self.builder.block
        loop, after = builder.append_basic_block(), builder.append_basic_block()
        builder.branch(loop)
        builder.position_at_end(loop)
        number = builder.phi(_I64)
        values = [builder.phi(_VECTOR) for _ in range(vectors)]
        ends = step(number, values)
        following = builder.add(number, _I64(1))
        for phi, end in zip([number, *values], [following, *ends], strict=True):
            phi.add_incoming(phi.type(None), before)
            phi.add_incoming(end, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        return ends

    def products(self, rows: list[Any], panel: Any, groups: Any) -> list[Any]:
        """Products of a panel with each row (addresses) of `groups` times four bytes."""

        def step(group: Any, sums: list[Any]) -> list[Any]:
            columns = self.load(panel, self.builder.mul(group, _I64(_BYTES)))
            four = self.builder.mul(group, _I64(4))
            lines = [self.splat(self.load(row, four, _I32)) for row in rows]
            return [self.dot(total, columns, line) for total, line in zip(sums, lines, strict=True)]

        found: list[Any] = self.repeat(groups, len(rows), step)
        return found

    def lower(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)


def _sweep(*, indexed: bool = False, keys: bool = False) -> Any:
    """A numba function that folds rows into a panel's best and second.

    Its arguments are addresses and whole numbers, all int64: (rows, bytes per row, their constants,
    first row, end, panel, best, second, more). `more` takes the nearest row (`indexed`), or each
    row's values (`keys`, of which it folds instead).
    """
    shift = _VECTOR([1 + (INDEX_BITS if keys else 0)] * LANES)

    def fold(writer: _Writer, arguments: Any, first: Any, count: int) -> None:
        """Rows first:first + count."""
        rows, stride, constants, start, _, panel, best, second, more = arguments
        builder = writer.builder
        lines = [builder.add(first, _I64(r)) for r in range(count)]
        sums = writer.products(
            [builder.add(rows, builder.mul(stride, line)) for line in lines],
            panel,
            builder.sdiv(stride, _I64(4)),
        )
        low, high = writer.load(best), writer.load(second)
        nearest = writer.load(more) if indexed else None
        for line, total in zip(lines, sums, strict=True):
            constant = writer.load(constants, builder.mul(line, _I64(4)), _I32)
            value = builder.sub(writer.splat(constant), builder.shl(total, shift))
            nearer = builder.icmp_signed("<", value, low)
            high = writer.lower(builder.select(nearer, low, value), high)
            low = builder.select(nearer, value, low)
            if indexed:
                own = writer.splat(builder.trunc(line, _I32))
                nearest = builder.select(nearer, own, nearest)
            if keys:
                writer.store(value, more, builder.mul(builder.sub(line, start), _I64(_BYTES)))
        writer.store(low, best)
        writer.store(high, second)
        if indexed:
            writer.store(nearest, more)

    @intrinsic
    def sweep(  # type: ignore[no-untyped-def]
        typing, rows, stride, constants, start, stop, panel, best, second, more
    ):
        def write(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            start, stop = arguments[3:5]
            writer = _Writer(builder)
            tail = builder.sub(stop, builder.srem(builder.sub(stop, start), _I64(ROWS)))
            with cgutils.for_range_slice(builder, start, tail, _I64(ROWS)) as (first, _):
                fold(writer, arguments, first, ROWS)
            with cgutils.for_range_slice(builder, tail, stop, _I64(1)) as (first, _):
                fold(writer, arguments, first, 1)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 9), write

    return sweep


_sweep_plain, _sweep_indexed, _sweep_keys = _sweep(), _sweep(indexed=True), _sweep(keys=True)


@compiled()
def fold(rows, constants, start, stop, panel, best, second, nearest):  # type: ignore[no-untyped-def]
    """Best and second best value of rows start:stop, per column of a panel.

    Args:
        rows: int8 [K, d], d a multiple of 4.
        constants: int32 [K] of `constants_of(rows)`.
        panel: uint8 [d/4 * 64], from `pack`.
        best, second: int32 [16], written.
        nearest: int32 [16], the first row that has the best, written; empty where not asked for.
    """
    best[:] = FAR
    second[:] = FAR
    row, constant, to = rows.ctypes.data, constants.ctypes.data, panel.ctypes.data
    low, high, more = best.ctypes.data, second.ctypes.data, nearest.ctypes.data
    if len(nearest):
        _sweep_indexed(row, rows.shape[1], constant, start, stop, to, low, high, more)
    else:
        _sweep_plain(row, rows.shape[1], constant, start, stop, to, low, high, 0)


@compiled()
def fold_keys(rows, constants, start, stop, panel, best, second, keys):  # type: ignore[no-untyped-def]
    """As `fold`, of keys: value * 2^INDEX_BITS + row number in its image.

    Args:
        constants: of `keyed(rows, bounds)`.
        keys: int32 [>= stop - start, 16], each row's, written.
    """
    best[:] = FAR
    second[:] = FAR
    _sweep_keys(
        rows.ctypes.data,
        rows.shape[1],
        constants.ctypes.data,
        start,
        stop,
        panel.ctypes.data,
        best.ctypes.data,
        second.ctypes.data,
        keys.ctypes.data,
    )


@intrinsic
def _value(typing, row, column, words, constant):  # type: ignore[no-untyped-def]
    """Constant - 2 product of a row and a column (addresses of `words` times 64 bytes)."""

    def write(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        row, column, words, constant = arguments
        writer = _Writer(builder)

        def step(word: Any, sums: list[Any]) -> list[Any]:
            at = builder.mul(word, _I64(_BYTES))
            return [writer.dot(sums[0], writer.load(column, at), writer.load(row, at))]

        (sums,) = writer.repeat(words, 1, step)
        total = writer.call("llvm.vector.reduce.add.v16i32", _I32, sums)
        return builder.sub(constant, builder.shl(total, _I32(1)))

    return types.int32(*[types.intp] * 3, types.int32), write


@compiled()
def value_of(rows, constants, row, columns, column):  # type: ignore[no-untyped-def]
    """A row's value for a column; the columns as uint8 [n, d], bytes plus 128, d of whole 64."""
    length = rows.shape[1]
    return _value(
        rows.ctypes.data + row * length,
        columns.ctypes.data + column * length,
        length // _BYTES,
        constants[row],
    )


@intrinsic
def _write_below(typing, keys, limits, row, to):  # type: ignore[no-untyped-def]
    """Write 16 row + lane of the lanes in which a key is below its limit; returns how many."""

    def write(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        keys, limits, row, to = arguments
        writer = _Writer(builder)
        below = builder.icmp_signed("<", writer.load(keys), writer.load(limits))
        first = builder.trunc(builder.mul(row, _I64(LANES)), _I32)
        numbers = builder.add(writer.splat(first), _VECTOR(list(range(LANES))))
        # Written whole: writing only some lanes takes many times longer.
        compress = "llvm.x86.avx512.mask.compress.v16i32"
        found = writer.call(compress, _VECTOR, numbers, numbers, below)
        short = builder.trunc(found, ir.VectorType(ir.IntType(16), LANES))
        writer.store(short, to)
        mask = builder.zext(builder.bitcast(below, ir.IntType(LANES)), _I64)
        return builder.ctpop(mask)

    return types.int64(*[types.intp] * 4), write


@compiled()
def keys_below(keys, count, limits, hits):  # type: ignore[no-untyped-def]
    """Write 16 row + lane of the keys of the first `count` rows that are below `limits` [16].

    Args:
        hits: uint16, written.

    Returns:
        How many there are, or -1 where there would have to be room for 16 more.
    """
    found = 0
    for row in range(count):
        if found + LANES > len(hits):
            return -1
        found += _write_below(
            keys.ctypes.data + row * _BYTES, limits.ctypes.data, row, hits.ctypes.data + 2 * found
        )
    return found


@compiled()
def constants_of(rows):  # type: ignore[no-untyped-def]
    """Squared norm + 256 sum of each row, int32 [K]."""
    constants = np.empty(len(rows), np.int32)
    for r in range(len(rows)):
        total = np.int32(0)
        for value in rows[r]:
            total += np.int32(value) * (np.int32(value) + np.int32(256))
        constants[r] = total
    return constants


@compiled()
def keyed(rows, bounds):  # type: ignore[no-untyped-def]
    """`constants_of(rows)` for `fold_keys`; images are rows bounds[i]:bounds[i + 1]."""
    constants = constants_of(rows)
    for image in range(len(bounds) - 1):
        for row in range(bounds[image], bounds[image + 1]):
            constants[row] = (constants[row] << INDEX_BITS) + (row - bounds[image])
    return constants


@compiled()
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
    fold(rows, constants_of(rows), 0, 23, panel, *found)
    two, nearest = np.sort(expected, axis=0)[:2], expected.argmin(axis=0)
    same = np.array_equal(found, [*two, nearest])
    fold(rows, constants_of(rows), 0, 23, panel, *found[:2], found[2, :0])
    return same and np.array_equal(found[:2], two)


def aligned(count: int) -> NDArray[np.uint8]:
    """Zeroed bytes that begin at a cache line."""
    raw = np.zeros(count + _BYTES, np.uint8)
    start = -raw.ctypes.data % _BYTES
    return raw[start : start + count]

"""Multiply queries with references block by block and fold each product into answers.

In: unit queries, references, `View`s to be filled. Threads multiply and fold queries of their own:
sharing one product they would wait for one another twice a block. Where the processor multiplies
bfloat16 much faster, products are made so first, as 8 bits are enough to tell that a reference is far
from every decision; `fold` scores exactly what is near one. Queries of which too much is near (vectors
that are all alike, right references amid wrong ones) go on in float32.

Legend: q queries, g references, d dims.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.evaluation import accumulate
from reid_ray.evaluation.accumulate import Best, Positions, Positives

Vectors = NDArray[np.floating]

_CHUNK_BLOCKS = 8
"""Blocks of references that threads go through before they wait for one another."""
_COARSE_PAYS = 1.4
"""How many times faster the coarse product has to be; the exact scores after it take time as well."""
_MOST_EXACT = 0.05
"""Share of a block's scores that may be made exact, before a finer product is cheaper. Not of the first,
where everything is among the best so far."""


@dataclass(frozen=True)
class View:
    """One ranking of the references, as far as it is known; some may be left out.

    Attributes:
        left_out: (query row, reference position), ascending by position.
    """

    best: Best
    positives: Positives
    left_out: tuple[Positions, Positions] | None = None

    def hidden(self, rows: slice, part: slice) -> tuple[Positions, Positions] | None:
        """What is left out of the product of these queries and references."""
        if self.left_out is None:
            return None
        query, position = self.left_out
        few = slice(*np.searchsorted(position, [part.start, part.stop]))
        here = (query[few] >= rows.start) & (query[few] < rows.stop)
        return query[few][here] - rows.start, position[few][here] - part.start


class _Precision(NamedTuple):
    """What products are made of.

    Attributes:
        bits: a whole number of the same size.
        shift: bits that it lacks of a float32.
    """

    kind: torch.dtype
    bits: torch.dtype
    shift: int


_FINE = _Precision(torch.float32, torch.int32, 0)
_COARSE = _Precision(torch.bfloat16, torch.int16, 16)
_FINE_UNIT, _COARSE_UNIT = 2.0**-24, 2.0**-9
"""How far one rounding may be off, relatively."""


def stream(
    units_qd: NDArray[np.float32],
    finite: bool,
    references_gd: Vectors,
    views: list[View],
    block: tuple[int, int],
    device: torch.device,
) -> None:
    """Fold all references into the views.

    Args:
        finite: whether all queries are.
        block: queries and references that are multiplied at a time.
        device: where products are made.
    """
    width, dims = min(_CHUNK_BLOCKS * block[1], len(references_gd)), units_qd.shape[1]
    with _threads_of_our_own() as (pool, threads):
        coarse = device.type == "cpu" and pool.submit(_coarse_pays, dims).result()
        buffer = _Chunk(np.empty((width, dims), np.float32), coarse, block[1])
        rows = slices(len(units_qd), _even(len(units_qd), block[0], threads))
        looking = [_Queries(units_qd, some, device, coarse) for some in rows]
        for part in slices(len(references_gd), width):
            chunk = buffer.start(part.start, part.stop - part.start)
            spans = slices(len(chunk.units_gd), -(-width // threads))
            filled = list(pool.map(partial(chunk.fill, references_gd[part]), spans))
            finite = all(good for good, _ in filled) and finite
            chunk.lost = max(lost for _, lost in filled)
            meet = partial(_Queries.meet, chunk=chunk.on(device), finite=finite, views=views)
            list(pool.map(meet, looking))


@contextmanager
def _threads_of_our_own() -> Iterator[tuple[ThreadPoolExecutor, int]]:
    """As many threads as torch has, each of which multiplies alone."""
    threads = torch.get_num_threads()
    try:
        # Said in each of them, as a new thread starts from what the machine has.
        alone = partial(torch.set_num_threads, 1)
        with ThreadPoolExecutor(threads, initializer=alone) as pool:
            yield pool, threads
    finally:
        torch.set_num_threads(threads)


def _coarse_pays(dims: int) -> bool:
    """Tried out on a small product, as no library says what a processor does in hardware."""
    took = []
    for precision in (_FINE, _COARSE):
        one, other = (torch.ones(256, dims, dtype=precision.kind) for _ in range(2))
        tries = []
        for _ in range(4):
            began = time.perf_counter()
            torch.mm(one, other.T)
            tries.append(time.perf_counter() - began)
        took.append(min(tries[1:]))
    return took[0] > _COARSE_PAYS * took[1]


def _even(count: int, most: int, threads: int) -> int:
    """A size of at most `most` that gives each thread about as much."""
    rounds = -(-count // (most * threads))
    return -(-count // (rounds * threads))


class _Chunk:
    """Unit references `first`..., in the precisions that may be asked for.

    Attributes:
        lost: the longest vector between one of them and what is left of it in bfloat16.
    """

    def __init__(self, units_gd: NDArray[np.float32], coarse: bool, width: int) -> None:
        self.first, self.units_gd, self.width, self.lost = 0, units_gd, width, 0.0
        self.products = {_FINE: torch.from_numpy(units_gd)}
        if coarse:
            self.products[_COARSE] = self.products[_FINE].to(_COARSE.kind)

    def start(self, first: int, count: int) -> "_Chunk":
        """The same memory, for other references."""
        chunk = copy(self)
        chunk.first, chunk.units_gd = first, self.units_gd[:count]
        return chunk

    def fill(self, references_gd: Vectors, span: slice) -> tuple[bool, float]:
        """Write some rows; returns whether all are finite, and what is `lost` of them."""
        finite = unit_rows(references_gd[span], out=self.units_gd[span])[1]
        lost = 0.0
        if _COARSE in self.products:
            fine, coarse = (self.products[kind][span] for kind in (_FINE, _COARSE))
            coarse.copy_(fine)
            lost = _lost(fine, coarse)
        return finite, lost

    def on(self, device: torch.device) -> "_Chunk":
        chunk = copy(self)
        chunk.products = {kind: rows.to(device) for kind, rows in self.products.items()}
        return chunk

    def spans(self) -> list[slice]:
        """What is multiplied at a time."""
        return slices(len(self.units_gd), self.width)


class _Queries:
    """Some queries, and how finely they are multiplied."""

    def __init__(
        self, units_qd: NDArray[np.float32], rows: slice, device: torch.device, coarse: bool
    ) -> None:
        self._units_qd, self._rows = units_qd, rows
        self._fine = torch.from_numpy(units_qd[rows]).to(device)
        self._use(_COARSE if coarse else _FINE)

    def _use(self, precision: _Precision) -> None:
        self._precision = precision
        self._queries = self._fine.to(precision.kind)
        self._lost = _lost(self._fine, self._queries)

    def _slack(self, chunk: _Chunk) -> tuple[np.float32, np.float32]:
        """How far a product may be from the cosine: so much, and so many times itself.

        Sums are rounded, in whatever order they are made (Higham 2002, 3.1); what both factors lost
        counts once each (Cauchy and Schwarz); and the result is rounded like them.
        """
        summed = (self._units_qd.shape[1] + 2) * _FINE_UNIT
        if self._precision is _FINE:
            return np.float32(summed), np.float32(0)
        lost = self._lost + chunk.lost + self._lost * chunk.lost
        return np.float32(1.01 * lost + 2 * summed), np.float32(1.01 * _COARSE_UNIT)

    def meet(self, chunk: _Chunk, finite: bool, views: list[View]) -> None:
        """Fold the products with some references into the views."""
        slack = self._slack(chunk)
        for span in chunk.spans():
            made = self._precision
            product = torch.mm(self._queries, chunk.products[made][span].T)
            bits_qg = product.view(made.bits).cpu().numpy()
            if not finite:
                accumulate.clear_nan(bits_qg, made.shift)
            part = slice(chunk.first + span.start, chunk.first + span.stop)
            exact = 0
            for view in views:
                if hidden := view.hidden(self._rows, part):
                    accumulate.hide(bits_qg, made.shift, hidden)
                exact += accumulate.fold(
                    part.start,
                    bits_qg,
                    made.shift,
                    self._units_qd,
                    chunk.units_gd[span],
                    slack,
                    self._rows.start,
                    view.best,
                    view.positives,
                )
            if made is _COARSE and part.start and exact > _MOST_EXACT * bits_qg.size:
                self._use(_FINE)
                slack = self._slack(chunk)


def _lost(fine: torch.Tensor, rounded: torch.Tensor) -> float:
    """The longest of the differences of rows; not-a-number counts nothing."""
    return float(torch.nan_to_num((fine - rounded.float()).norm(dim=1)).max())


def unit_rows(rows_nd: Vectors, out: NDArray[np.float32] | None = None) -> tuple[NDArray[np.float32], bool]:
    """Rows scaled to length 1 in float32, and whether all are finite; all-zero rows stay zero."""
    rows = np.ascontiguousarray(rows_nd, np.float32)
    units = np.empty_like(rows) if out is None else out[: len(rows)]
    return units, bool(accumulate.unit_rows(rows, units))


def slices(count: int, size: int) -> list[slice]:
    """0..count, at most `size` at a time."""
    return [slice(start, min(start + size, count)) for start in range(0, count, max(1, size))]

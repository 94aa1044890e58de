"""Rank references by score, exactly and with stated ties. In: scores. Out: `Ranked`.

Every (score, reference position) becomes one unsigned 64-bit number that orders as we rank: higher
score first, among equal scores the lower position first. So top-k, first right rank and average
precision agree on ties, and blocks can be merged in any order. Legend: q queries, g references, k
kept references.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Keys = NDArray[np.uint64]

_NOTHING = np.uint64(0)
"""Padding: below the key of any score, even of minus infinity."""
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_SIGN = np.uint32(0x80000000)
_FEW = 48
_OTHER = "other_encounter"


@dataclass(frozen=True)
class Ranked:
    """The answers to q queries.

    Attributes:
        top_index: int64 [q, k], positions in the reference list, best first; -1 where g < k.
        top_score: float32 [q, k]; minus infinity where g < k.
        first_correct: int32 [q], 1-based rank of the first reference of the right identity; 0:
            there is none.
        average_precision: float32 [q], mean over the right references of the precision at their
            rank; 0 where there is none.
        other_encounter: the answers without references of the query's own encounter; None where
            no reference's encounter is known.
    """

    top_index: NDArray[np.int64]
    top_score: NDArray[np.float32]
    first_correct: NDArray[np.int32]
    average_precision: NDArray[np.float32]
    other_encounter: "Ranked | None" = None

    def __len__(self) -> int:
        return len(self.first_correct)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name, as `of_arrays` takes them."""
        own = {name: value for name, value in vars(self).items() if name != _OTHER}
        if self.other_encounter is None:
            return own
        others = self.other_encounter.arrays().items()
        return own | {f"{_OTHER}_{name}": value for name, value in others}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> "Ranked":
        """What `arrays` took apart."""
        own: dict[str, Any] = {}
        others: dict[str, NDArray[Any]] = {}
        for name, value in arrays.items():
            inner = name.removeprefix(f"{_OTHER}_")
            (own if inner == name else others)[inner] = value
        return cls(**own, other_encounter=cls.of_arrays(others) if others else None)


def rank_block(
    scores_qg: ArrayLike,
    query_labels_q: ArrayLike,
    reference_labels_g: ArrayLike,
    *,
    k: int,
    left_out_qg: NDArray[np.bool_] | None = None,
) -> Ranked:
    """Rank all references for each query of one block.

    Scores are compared as float32, higher is better; NaN counts as minus infinity. Ties: the lower
    reference position first. References that are left out are as if they were not there.
    """
    scores = np.asarray(scores_qg)
    right_qg = np.asarray(query_labels_q)[:, None] == np.asarray(reference_labels_g)[None, :]
    if scores.shape != right_qg.shape:
        raise ValueError(f"scores are {scores.shape}, labels say {right_qg.shape} (queries, references)")
    keys = order_keys(scores, first_position=0)
    if left_out_qg is not None:
        keys, right_qg = without(keys, left_out_qg), right_qg & ~left_out_qg
    top = best_keys(keys, k)
    positives = RightKeys.gather([keys], [right_qg])
    return positives.ranked(top, positives.wrong_ahead(keys, right_qg))


def rank_in_order(
    scores_g: ArrayLike,
    order_g: NDArray[np.int64],
    query_label: int,
    labels_g: ArrayLike,
    *,
    k: int,
    left_out_g: NDArray[np.bool_] | None = None,
) -> Ranked:
    """As `rank_block` for one query, but equal scores rank in the order given, not by position.

    Args:
        order_g: all positions of references, each once.
    """
    scores, labels = np.asarray(scores_g)[order_g], np.asarray(labels_g)[order_g]
    out_qg = None if left_out_g is None else left_out_g[order_g][None]
    ranked = rank_block(scores[None], [query_label], labels, k=k, left_out_qg=out_qg)
    top = np.where(ranked.top_index < 0, -1, order_g[ranked.top_index])
    return Ranked(top, ranked.top_score, ranked.first_correct, ranked.average_precision)


def concat(parts: Sequence[Ranked]) -> Ranked:
    """Join the answers of several query blocks that were ranked with the same k."""
    others = [part.other_encounter for part in parts if part.other_encounter is not None]
    if not parts:
        return Ranked(
            np.empty((0, 0), np.int64),
            np.empty((0, 0), np.float32),
            np.empty(0, np.int32),
            np.empty(0, np.float32),
        )
    return Ranked(
        np.concatenate([part.top_index for part in parts]),
        np.concatenate([part.top_score for part in parts]),
        np.concatenate([part.first_correct for part in parts]),
        np.concatenate([part.average_precision for part in parts]),
        concat(others) if others else None,
    )


def without(keys_qg: Keys, left_out_qg: NDArray[np.bool_]) -> Keys:
    """The keys with those of left-out references below any score."""
    return np.where(left_out_qg, _NOTHING, keys_qg)


def order_keys(scores_qg: ArrayLike, *, first_position: int) -> Keys:
    """One number per score that orders as we rank; column 0 is reference `first_position`.

    A float's bits order as integers once the sign bit is flipped (all bits, for negative numbers).
    """
    scores = np.fmax(np.asarray(scores_qg, np.float32), np.float32(-np.inf))  # NaN becomes -inf
    scores += np.float32(0)  # -0.0 becomes 0.0, so that both tie
    bits = np.ascontiguousarray(scores).view(np.int32)
    flips = bits >> 31  # all ones for negative numbers
    flips |= np.int32(-(2**31))
    bits ^= flips
    positions = np.arange(first_position, first_position + scores.shape[1], dtype=np.uint64)
    keys = bits.view(np.uint32).astype(np.uint64)
    keys <<= _HALF
    keys |= _LOW - positions
    return keys


def best_keys(keys_qg: Keys, k: int) -> Keys:
    """The k largest keys of each row, largest first, padded with 0."""
    queries, references = keys_qg.shape
    kept = min(k, references)
    if kept < references:
        keys_qg = np.partition(keys_qg, references - kept, axis=1)[:, references - kept :]
    top = np.zeros((queries, k), np.uint64)
    top[:, :kept] = np.sort(keys_qg, axis=1)[:, ::-1]
    return top


def decode(keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions and scores behind keys; (-1, minus infinity) behind padding."""
    padding = keys == _NOTHING
    positions = np.where(padding, -1, (_LOW - (keys & _LOW)).astype(np.int64))
    bits = (keys >> _HALF).astype(np.uint32)
    bits ^= np.where(bits >= _SIGN, _SIGN, np.uint32(0xFFFFFFFF))
    scores = bits.view(np.float32)
    return positions, np.where(padding, np.float32(-np.inf), scores).astype(np.float32)


@dataclass(frozen=True)
class RightKeys:
    """The keys of the right references of q queries, ascending within a query.

    Attributes:
        keys: uint64 [r], all queries one after another.
        offsets: int64 [q + 1], where each query begins in `keys`.
    """

    keys: Keys
    offsets: NDArray[np.int64]

    @classmethod
    def gather(cls, keys: Sequence[Keys], right: Sequence[NDArray[np.bool_]]) -> "RightKeys":
        """Collect from blocks of references ([q, g_i] each) of the same queries."""
        rows = np.concatenate([np.nonzero(mask)[0] for mask in right])
        found = np.concatenate([block[mask] for block, mask in zip(keys, right, strict=True)])
        return cls.of(rows, found, len(right[0]))

    @classmethod
    def of(cls, rows: NDArray[np.int64], keys: Keys, queries: int) -> "RightKeys":
        """From unordered (query row, key) pairs."""
        order = np.lexsort((keys, rows))
        offsets = np.zeros(queries + 1, np.int64)
        np.cumsum(np.bincount(rows, minlength=queries), out=offsets[1:])
        return cls(keys[order], offsets)

    def wrong_ahead(self, keys_qg: Keys, right_qg: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many wrong references of a block rank before each right one; int64 [r], as `keys`.

        Right references are left out here by position, not by score: their order is known already.
        """
        ahead = np.zeros(len(self.keys), np.int64)
        for row, (start, end) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            if start == end:
                continue
            right = self.keys[start:end]
            wrong = np.where(right_qg[row], _NOTHING, keys_qg[row])
            if len(right) <= _FEW:  # comparing with each is faster than a binary search of all
                ahead[start:end] = [np.count_nonzero(wrong > key) for key in right]
            else:
                beaten = np.searchsorted(right, wrong)
                count = np.bincount(beaten, minlength=len(right) + 1)
                ahead[start:end] = beaten.size - np.cumsum(count)[:-1]
        return ahead

    def ranked(self, top_keys_qk: Keys, wrong_ahead: NDArray[np.int64]) -> Ranked:
        """Put top-k and the right references' ranks together."""
        queries = len(self.offsets) - 1
        first = np.zeros(queries, np.int32)
        precision = np.zeros(queries, np.float32)
        for row, (start, end) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            if start == end:
                continue
            ahead = wrong_ahead[start:end][::-1]  # best right reference first
            place = np.arange(1, end - start + 1)
            first[row] = 1 + ahead[0]
            precision[row] = np.mean(place / (place + ahead))
        return Ranked(*decode(top_keys_qk), first, precision)

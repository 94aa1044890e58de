"""Match the local features of every query with every reference, on all CPUs, surviving their loss.

In: photos in the object store, the table with its split, a config. Out: one prediction per query.
Features are taken by tasks; then actors of one CPU choose the threshold and rank chunks of queries.
The driver writes each finished chunk to the method's folder, so that a start after a crash goes on
from there, and puts chunks together in order, so that the table is the same either way.
"""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.errors import StorageError
from reid_ray.evaluation.predictions import answer_queries
from reid_ray.evaluation.ranking import Ranked, concat
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import References
from reid_ray.matching.threshold import Tuned, best_of, sample
from reid_ray.on_ray.matching_actors import Call, Pool
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, method_key

PHOTOS_PER_TASK = 32
PAIRS_PER_CHUNK = 4096
"""A second or two of work: long against a call's overhead, short against what a crash may cost."""

Params = dict[str, str | int | float | bool]


def run_matching(
    shared: ray.ObjectRef,
    rows: pd.DataFrame,
    config: Matching,
    folder: MethodFolder,
    *,
    actors: int,
    k: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[pd.DataFrame, Params]:
    """Answer every query among the references of its own dataset.

    Args:
        shared: `PreparedImages`, or an object with them as `images`, in the object store; photo i
            belongs to row i.
        folder: finished chunks go to `chunks/` in it.
        actors: matching processes of one CPU each; fewer are used while fewer can be had.
        k: references kept per query.
        progress: told (query-reference pairs done, all), also while nothing new is done.

    Returns:
        The predictions, and what was chosen and measured: threshold, keypoints, pairs per second.

    Raises:
        ResourceError: no actor could be started. TrialError: a chunk failed again and again.
    """
    run = _Run(shared, rows, config, folder, k, progress)
    run.total = _pairs(rows)
    with Pool(actors) as pool:
        run.pool = pool
        predictions = answer_queries(rows, run.search)
    return predictions, run.params()


def _pairs(rows: pd.DataFrame) -> int:
    counts = pd.crosstab(rows["dataset"], rows["split"])
    if not {"query", "reference"} <= set(counts):
        return 0
    return int((counts["query"] * counts["reference"]).sum())


class _Run:
    """One method under way; `search` is called once per dataset."""

    def __init__(
        self,
        shared: ray.ObjectRef,
        rows: pd.DataFrame,
        config: Matching,
        folder: MethodFolder,
        k: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self.shared, self.rows, self.config, self.k = shared, rows, config, k
        self.chunks = folder.path / "chunks"
        self.progress = progress
        self.pool: Pool
        self.total = self.done = self.fresh = 0
        self.seconds = 0.0
        self.thresholds: dict[str, float] = {}
        self.keypoints: list[NDArray[np.int64]] = []

    def search(
        self,
        query_positions: NDArray[np.int64],
        reference_positions: NDArray[np.int64],
        query_labels: NDArray[np.int64],
        reference_labels: NDArray[np.int64],
    ) -> Ranked:
        """Rank one dataset's references for each of its queries."""
        name = str(self.rows["dataset"].iloc[query_positions[0]])
        keys = self.rows["key"].to_numpy(object)
        fingerprint = method_key(
            "chunks", self.config.canonical(), self.k,
            list(keys[query_positions]), list(keys[reference_positions]),
        )  # fmt: skip
        chunks = self.chunks / fingerprint
        queries = self._features(query_positions, chunks / "features")
        references = self._features(reference_positions, chunks / "features")
        self.keypoints += [queries.keypoints, references.keypoints]
        side = _Side.put(self, queries, references, query_labels, reference_labels,
                         query_positions, reference_positions)  # fmt: skip
        tuned = self._tune(side, len(reference_positions), chunks)
        self.thresholds[name] = tuned.threshold
        return self._rank(side, tuned.threshold, chunks)

    def _features(self, positions: NDArray[np.int64], folder: Path) -> Features:
        """Features of the given photos: from disk where an earlier start left them."""
        parts: dict[str, Features] = {}
        calls: dict[str, Call] = {}
        for at in range(0, len(positions), PHOTOS_PER_TASK):
            chunk = positions[at : at + PHOTOS_PER_TASK]
            name = f"{at:08d}-{method_key(chunk.tolist())}"
            kept = _kept(folder / f"{name}.npz")
            if kept is not None:
                parts[name] = kept
            else:
                calls[name] = Call("extract", (self.shared, chunk, self.config))
        # By the same actors that match: tasks would wait for ever for the CPUs that these hold.
        for name, features in self.pool.run(calls):
            parts[name] = features
            features.save(folder / f"{name}.npz")
            self.progress(self.done, self.total)
        return Features.concat(parts[name] for name in sorted(parts))

    def _tune(self, side: "_Side", count: int, chunks: Path) -> Tuned:
        """The threshold, chosen on the references alone."""
        if self.config.score != "count" or len(self.config.thresholds) == 1:
            return Tuned(self.config.thresholds[0], (), 0)
        lookups = sample(count, most=self.config.tuning_lookups, seed=self.config.seed)
        size = max(1, PAIRS_PER_CHUNK // count)
        calls = {
            f"tuning-{at:08d}": Call(
                "tune", (side.references, self.config, lookups[at : at + size])
            )
            for at in range(0, len(lookups), size)
        }
        right = np.zeros(len(self.config.thresholds))
        for _, arrays in sorted(self._finish(calls, chunks, pairs=lambda _: 0)):
            right += arrays["right"]
        return best_of(self.config.thresholds, right, len(lookups))

    def _rank(self, side: "_Side", threshold: float, chunks: Path) -> Ranked:
        size = max(1, PAIRS_PER_CHUNK // max(1, side.reference_count))
        calls = {
            f"ranked-{at:08d}": Call(
                "rank",
                (side.references, side.queries, at, min(at + size, side.query_count),
                 self.config, threshold, self.k),
            )
            for at in range(0, side.query_count, size)
        }  # fmt: skip
        began = time.monotonic()
        ended = sorted(
            self._finish(
                calls, chunks, pairs=lambda a: len(a["first_correct"]) * side.reference_count
            )
        )
        self.seconds += time.monotonic() - began
        return concat([Ranked(**arrays) for _, arrays in ended])

    def _finish(
        self, calls: dict[str, Call], chunks: Path, *, pairs: Callable[[dict[str, Any]], int]
    ) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        """Results by name: those on disk first, then the others as they end, each written at once."""
        left: dict[str, Call] = {}
        for name, call in calls.items():
            arrays = _read(chunks / f"{name}.npz")
            if arrays is None:
                left[name] = call
                continue
            self.done += pairs(arrays)
            yield name, arrays
        self.progress(self.done, self.total)
        for name, arrays in self.pool.run(left):
            _write(chunks / f"{name}.npz", arrays)
            self.done += pairs(arrays)
            self.fresh += pairs(arrays)
            self.progress(self.done, self.total)
            yield name, arrays

    def params(self) -> Params:
        """What was chosen and measured, as flat scalars."""
        counts = np.concatenate(self.keypoints) if self.keypoints else np.zeros(1)
        params: Params = {
            "extractor": self.config.extractor.kind,
            "score": self.config.score,
            "mutual": self.config.mutual,
            "keypoints_per_photo": round(float(np.mean(counts)), 1),
        }
        if self.config.score == "count":
            one = len(self.thresholds) == 1
            for name, threshold in self.thresholds.items():
                params["threshold" if one else f"threshold/{name}"] = threshold
        if self.fresh and self.seconds:
            params["pairs_per_second"] = round(self.fresh / self.seconds, 1)
        return params


@dataclass(frozen=True)
class _Side:
    """One dataset's features in the object store."""

    references: ray.ObjectRef
    queries: ray.ObjectRef
    reference_count: int
    query_count: int

    @classmethod
    def put(
        cls,
        run: _Run,
        queries: Features,
        references: Features,
        query_labels: NDArray[np.int64],
        reference_labels: NDArray[np.int64],
        query_positions: NDArray[np.int64],
        reference_positions: NDArray[np.int64],
    ) -> "_Side":
        encounters = _encounters(run.rows)
        searched = References(
            Packed.of(references),
            reference_labels,
            encounters[reference_positions],
            references if run.config.verify else None,
        )
        looking = (queries, query_labels, encounters[query_positions])
        return cls(ray.put(searched), ray.put(looking), len(references), len(queries))


def _encounters(rows: pd.DataFrame) -> NDArray[np.int64]:
    """A number per row, equal within one encounter of one dataset; -1 where none is given."""
    if "encounter" not in rows:
        return np.full(len(rows), -1, np.int64)
    given = rows["encounter"].notna() & (rows["encounter"].astype(str) != "")
    names = rows["dataset"].astype(str) + "/" + rows["encounter"].astype(str)
    return pd.factorize(names.where(given))[0].astype(np.int64)


def _kept(path: Path) -> Features | None:
    """Features of an earlier start; None where there are none, or damaged ones."""
    try:
        return Features.load(path)
    except StorageError:
        return None


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    files.write_bytes(path, buffer.getvalue())


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """A finished chunk; None where there is none, or a damaged one, which is then made again."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None

"""Match the local features of every query with every reference, on all CPUs, surviving their loss.

In: photos in the object store, the table with its split, a config. Out: one prediction per query.
Actors of one CPU take features, choose what is left open and rank chunks of queries. Features are
kept in the study's folder `features`, so that methods with the same extractor take them once.
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

from reid_ray.config.matching import Extractor, LightGlue, Matching
from reid_ray.datasets.encounters import encounter_codes
from reid_ray.evaluation.open_set import Lookups, join
from reid_ray.evaluation.predictions import answer_queries
from reid_ray.evaluation.ranking import Ranked, concat
from reid_ray.matching.engine import Packed
from reid_ray.matching.extract import check_weights
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import References, Setting, settings_of
from reid_ray.matching.tuning import Tuned, best_of, sample
from reid_ray.on_ray.matching_actors import Call, Pool
from reid_ray.on_ray.planning import pair_count
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, method_key

PHOTOS_PER_TASK = 32
PAIRS_PER_CHUNK = 4096
"""A second or two of work: long against a call's overhead, short against what a crash may cost."""

NETWORK_PAIRS_PER_CHUNK = 64
"""As above, where a network looks at every pair."""

Params = dict[str, str | int | float | bool]
TunedPair = tuple[Tuned, Tuned]
"""Chosen among the references that the config leaves in, and among those of other encounters."""


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
        folder: finished chunks go to `chunks/` in it, features to the study's `features/`.
        actors: matching processes of one CPU each; fewer are used while fewer can be had.
        k: references kept per query.
        progress: told (query-reference pairs done, all), also while nothing new is done.

    Returns:
        The predictions, and what was chosen and measured: threshold, keypoints, pairs per second.

    Raises:
        ResourceError: no actor could be started. TrialError: a chunk failed again and again.
        WeightsError: a network's weights are missing or not its own.
    """
    check_weights(config)
    run = _Run(shared, rows, config, folder, k, progress)
    run.total = pair_count(rows)
    with Pool(actors) as pool:
        run.pool = pool
        predictions = answer_queries(rows, run.search, calibrate=run.look_up)
    return predictions, run.params()


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
        # <study>/methods/<key>: what several methods share lies beside `methods`.
        self.store = folder.path.absolute().parents[1] / "features"
        self.encounters = encounter_codes(rows)
        self.progress = progress
        self.pool: Pool
        self.total = self.done = self.fresh = 0
        self.seconds = 0.0
        self.chosen: dict[str, tuple[Extractor, TunedPair]] = {}
        self.keypoints: list[NDArray[np.int64]] = []
        self.searched: tuple[_Side, Setting, Path]

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
        side, tuned = self._choose(reference_positions, reference_labels, chunks)
        self.chosen[name] = side.extractor, tuned
        self.searched = side, tuned[0].setting, chunks
        queries = self._features(query_positions, side.extractor)
        self.keypoints += [queries.keypoints, side.keypoints]
        looking = (queries, query_labels, self.encounters[query_positions])
        settings = tuned[0].setting, tuned[1].setting
        return self._rank(side, ray.put(looking), len(queries), settings, chunks)

    def look_up(
        self,
        reference_positions: NDArray[np.int64],
        reference_labels: NDArray[np.int64],
        places: NDArray[np.int64],
    ) -> Lookups:
        """Look up some references of the dataset that was searched last among its others."""
        side, setting, chunks = self.searched
        size = max(1, PAIRS_PER_CHUNK // len(reference_positions))
        calls = {
            f"lookups-{at:08d}": Call(
                "look_up", (side.references, self.config, setting, places[at : at + size])
            )
            for at in range(0, len(places), size)
        }
        ended = sorted(self._finish(calls, chunks, pairs=lambda _: 0), key=lambda one: one[0])
        return join([Lookups(**arrays) for _, arrays in ended])

    def _choose(
        self, positions: NDArray[np.int64], labels: NDArray[np.int64], chunks: Path
    ) -> tuple["_Side", TunedPair]:
        """References with the extractor and setting chosen on them alone."""
        extractors = (self.config.extractor, *self.config.alternatives)
        best: tuple[_Side, TunedPair] | None = None
        for place, extractor in enumerate(extractors):
            features = self._features(positions, extractor)
            searched = References(
                Packed.of(features).sketched(), labels, self.encounters[positions],
                features if self.config.verify else None,
            )  # fmt: skip
            side = _Side(extractor, ray.put(searched), features.keypoints)
            tuned = self._tune(side, chunks, place, alone=len(extractors) == 1)
            if best is None or tuned[0].best > best[1][0].best:
                best = side, tuned
        assert best is not None
        return best

    def _features(self, positions: NDArray[np.int64], extractor: Extractor) -> Features:
        """Features of the given photos, from the study's store where they were taken before."""
        config = self.config.model_copy(update={"extractor": extractor})
        # By the same actors that match: tasks would wait for ever for the CPUs that these hold.
        calls = {
            f"features-{at:08d}": Call(
                "extract",
                (self.shared, positions[at : at + PHOTOS_PER_TASK], config, self.store),
            )
            for at in range(0, len(positions), PHOTOS_PER_TASK)
        }
        parts: dict[str, Features] = {}
        for name, features in self.pool.run(calls):
            parts[name] = features
            self.progress(self.done, self.total)
        return Features.concat(parts[name] for name in sorted(parts))

    def _tune(self, side: "_Side", chunks: Path, place: int, *, alone: bool) -> TunedPair:
        """The settings, chosen on the references alone; nothing is looked up for a single one."""
        settings = settings_of(self.config)
        if alone and len(settings) == 1:
            return (Tuned(settings[0], (), 0),) * 2
        count = len(side.keypoints)
        lookups = sample(count, most=self.config.tuning_lookups, seed=self.config.seed)
        size = max(1, PAIRS_PER_CHUNK // count)
        calls = {
            f"tuning-{place}-{at:08d}": Call(
                "tune", (side.references, self.config, lookups[at : at + size])
            )
            for at in range(0, len(lookups), size)
        }
        right = np.zeros((2, len(settings)))
        for _, arrays in sorted(self._finish(calls, chunks, pairs=lambda _: 0)):
            right += arrays["right"]
        first, second = (best_of(settings, one, len(lookups)) for one in right)
        return first, second

    def _rank(
        self,
        side: "_Side",
        looking: ray.ObjectRef,
        queries: int,
        settings: tuple[Setting, Setting],
        chunks: Path,
    ) -> Ranked:
        references = len(side.keypoints)
        size = max(1, PAIRS_PER_CHUNK // max(1, references))
        if isinstance(self.config.verify, LightGlue):
            size = max(1, min(size, NETWORK_PAIRS_PER_CHUNK // self.config.verify.candidates))
        calls = {
            f"ranked-{at:08d}": Call(
                "rank",
                (side.references, looking, at, min(at + size, queries), self.config, settings,
                 self.k),
            )
            for at in range(0, queries, size)
        }  # fmt: skip
        began = time.monotonic()
        ended = sorted(
            self._finish(calls, chunks, pairs=lambda a: len(a["first_correct"]) * references)
        )
        self.seconds += time.monotonic() - began
        return concat([Ranked.of_arrays(arrays) for _, arrays in ended])

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
        if self.config.verify:
            params["verify"] = self.config.verify.model
        one = len(self.chosen) == 1
        for name, (extractor, pair) in self.chosen.items():
            chosen = self._chosen(extractor, pair[0])
            for what, value in self._chosen(extractor, pair[1]).items():
                if chosen.get(what) != value:
                    chosen[f"{what}/other_encounter"] = value
            for what, value in chosen.items():
                params[what if one else f"{what}/{name}"] = value
        if self.fresh and self.seconds:
            params["pairs_per_second"] = round(self.fresh / self.seconds, 1)
        return params

    def _chosen(self, extractor: Extractor, tuned: Tuned) -> Params:
        """What was chosen on one dataset's references, and how often it was right there."""
        chosen: Params = {"threshold": tuned.setting.threshold}
        if self.config.score == "lnbnn":
            chosen = {
                "neighbours": tuned.setting.neighbours,
                "distance": tuned.setting.distance,
            }
        if self.config.alternatives:
            chosen["chosen_extractor"] = extractor.canonical()
        if tuned.looked_up:
            chosen["leave_one_out_top1"] = round(tuned.best, 4)
        return chosen


@dataclass(frozen=True)
class _Side:
    """One dataset's references in the object store, by one extractor."""

    extractor: Extractor
    references: ray.ObjectRef
    keypoints: NDArray[np.int64]


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

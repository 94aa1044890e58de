"""Match the local features of every query with every reference, on all CPUs, surviving their loss.

In: photos in the object store, the table with its split, a config. Out: one prediction per query.
Actors of one CPU take features, choose what is left open and rank chunks of queries. Features are
kept in the study's folder `features`, so that methods with the same extractor take them once.
The driver writes each finished chunk to the method's folder, so that a start after a crash goes on
from there, and puts chunks together in order, so that the table is the same either way.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.evaluation.open_set import Lookups, join
from reid_ray.evaluation.predictions import answer_queries
from reid_ray.evaluation.ranking import Ranked, concat
from reid_ray.matching.extract import check_weights
from reid_ray.matching.tuning import Tuned
from reid_ray.on_ray.actors.pool import Arrays, Call, Pool
from reid_ray.on_ray.actors.resumable import finish
from reid_ray.on_ray.matching_blocks import measured_sizes
from reid_ray.on_ray.matching_sides import Prepared, Preparer, ranked_size
from reid_ray.on_ray.vectors import Embedded
from reid_ray.runs.methods import MethodFolder
from reid_ray.studies.planning import matched_most, pair_count
from reid_ray.studies.trial import within

Params = dict[str, str | int | float | bool]
Progress = Callable[[int, int, str], None]
_MEASURED = ("among", "right", "known")  # in a chunk beside the answers, behind a shortlist


@dataclass(frozen=True)
class Matched:
    """What a method leaves behind.

    Attributes:
        params: what was chosen and measured: threshold, keypoints, pairs per second.
        metrics: what shorter lists would do, for methods behind a shortlist.
    """

    predictions: pd.DataFrame
    params: Params
    metrics: dict[str, float]


def run_matching(
    shared: ray.ObjectRef,
    rows: pd.DataFrame,
    config: Matching,
    folder: MethodFolder,
    *,
    actors: int,
    k: int,
    progress: Progress = lambda _done, _total, _detail: None,
    embedded: Embedded | None = None,
    keep_scores: bool = False,
) -> Matched:
    """Answer every query among the references of its own dataset.

    Args:
        shared: `PreparedImages`, or an object with them as `images`, in the object store; photo i
            belongs to row i.
        folder: finished chunks go to `chunks/` in it, features to the study's `features/`.
        actors: matching processes of one CPU each; fewer are used while fewer can be had.
        k: references kept per query.
        progress: told (query-reference pairs done, all, what else goes on in a few words), also
            while nothing new is done.
        embedded: what the config's shortlist goes by, other than `vlad`; its datasets alone are
            answered.
        keep_scores: for fusions, in the study's `scores/`.

    Raises:
        ResourceError: no actor could be started. TrialError: a chunk failed again and again.
        WeightsError: a network's weights are missing or not its own.
    """
    check_weights(config)
    if embedded is not None:
        rows = within(rows, embedded.datasets)
    run = _Run(config, k, progress, pair_count(rows, most=matched_most(config)))
    with Pool(actors) as pool:
        run.pool = pool
        run.prepare = Preparer(shared, rows, config, folder, pool, k, embedded, keep_scores, run.tell)
        trained = embedded is not None and embedded.trained
        predictions = answer_queries(rows, run.search, calibrate=run.look_up, trained=trained)
    names = [str(name) for name in pd.unique(predictions["dataset"])]
    return Matched(predictions, run.params(names), run.curves(names))


@dataclass
class _Run:
    """One method under way; `search` is called once per dataset."""

    config: Matching
    k: int
    progress: Progress
    total: int
    done: int = 0
    fresh: int = 0
    seconds: float = 0.0
    pool: Pool = field(init=False)
    prepare: Preparer = field(init=False)
    prepared: list[Prepared] = field(default_factory=list)
    measured: list[Arrays] = field(default_factory=list)

    def tell(self, detail: str = "") -> None:
        self.progress(self.done, self.total, detail)

    def search(
        self,
        query_positions: NDArray[np.int64],
        reference_positions: NDArray[np.int64],
        query_labels: NDArray[np.int64],
        reference_labels: NDArray[np.int64],
    ) -> Ranked:
        """Rank one dataset's references for each of its queries."""
        ready = self.prepare(query_positions, reference_positions, (query_labels, reference_labels))
        self.prepared.append(ready)
        references = len(reference_positions)
        size = ranked_size(self.config, references)
        calls = {
            f"ranked-{at:08d}": Call(
                "rank",
                (
                    ready.references,
                    ready.looking,
                    ready.vectors,
                    at,
                    min(at + size, ready.queries),
                    self.config,
                    ready.settings,
                    self.k,
                    ready.kept,
                ),
            )
            for at in range(0, ready.queries, size)
        }
        began = time.monotonic()
        chunks = self._finish(calls, ready, min(references, matched_most(self.config) or references))
        self.seconds += time.monotonic() - began
        if "among" in chunks[0]:
            joined = {name: np.concatenate([one[name] for one in chunks]) for name in _MEASURED}
            sizes = np.array(measured_sizes(self.config, references))
            self.measured.append({**joined, "sizes": sizes})
        return concat([ranked_of(arrays) for arrays in chunks])

    def look_up(
        self,
        reference_positions: NDArray[np.int64],
        reference_labels: NDArray[np.int64],
        places: NDArray[np.int64],
    ) -> Lookups:
        """Look up some references of the dataset that was searched last among its others."""
        ready = self.prepared[-1]
        size = ranked_size(self.config, len(reference_positions))
        calls = {
            f"lookups-{at:08d}": Call(
                "look_up",
                (ready.references, ready.vectors, self.config, ready.settings[0], places[at : at + size]),
            )
            for at in range(0, len(places), size)
        }
        ended = {}
        for name, arrays, _ in finish(self.pool, calls, ready.chunks):
            ended[name] = Lookups(**arrays)
            self.tell()
        return join([ended[name] for name in sorted(ended)])

    def _finish(self, calls: dict[str, Call], ready: Prepared, matched: int) -> list[Arrays]:
        """Chunks in the order of their names."""
        ended = {}
        self.tell()
        for name, arrays, fresh in finish(self.pool, calls, ready.chunks):
            pairs = len(arrays["first_correct"]) * matched
            self.done += pairs
            self.fresh += pairs * fresh
            ended[name] = arrays
            self.tell()
        return [ended[name] for name in sorted(ended)]

    def params(self, datasets: list[str]) -> Params:
        """What was chosen and measured, as flat scalars."""
        counts = np.concatenate([ready.keypoints for ready in self.prepared] or [np.zeros(1, np.int64)])
        params: Params = {
            "extractor": self.config.extractor.kind,
            "score": self.config.score,
            "mutual": self.config.mutual,
            "keypoints_per_photo": round(float(np.mean(counts)), 1),
            "pairs": self.total,
        }
        if self.config.verify:
            params["verify"] = self.config.verify.model
        if self.config.shortlist is not None:
            params |= {"shortlist": self.config.shortlist.by, "candidates": self.config.shortlist.size}
        for name, ready in zip(datasets, self.prepared, strict=True):
            found = chosen(ready, ready.tuned[0])
            for what, value in chosen(ready, ready.tuned[1]).items():
                if found.get(what) != value:
                    found[f"{what}/other_encounter"] = value
            for what, value in found.items():
                params[what if len(datasets) == 1 else f"{what}/{name}"] = value
        if self.fresh and self.seconds:
            params["pairs_per_second"] = round(self.fresh / self.seconds, 1)
        return params

    def curves(self, datasets: list[str]) -> dict[str, float]:
        """`shortlist/<dataset>/among_<B>`: share of queries whose animal is among the first B;
        `top1_<B>`: share answered rightly behind a shortlist of B; of animals that have a reference.
        """
        found = {}
        for name, curve in zip(datasets, self.measured, strict=False):
            if not curve["known"].any():
                continue
            among, right = (curve[what][curve["known"]].mean(axis=0) for what in ("among", "right"))
            for place, size in enumerate(curve["sizes"]):
                found[f"shortlist/{name}/among_{size}"] = float(among[place])
                found[f"shortlist/{name}/top1_{size}"] = float(right[place])
        return found


def ranked_of(arrays: Arrays) -> Ranked:
    """The answers in a chunk, whatever else is in it."""
    return Ranked.of_arrays({name: one for name, one in arrays.items() if name not in _MEASURED})


def chosen(ready: Prepared, tuned: Tuned) -> Params:
    """What was chosen on one dataset's references, and how often it was right there."""
    found: Params = {"threshold": tuned.setting.threshold}
    if ready.config.score == "lnbnn":
        found = {"neighbours": tuned.setting.neighbours, "distance": tuned.setting.distance}
    if ready.config.alternatives:
        found["chosen_extractor"] = ready.config.extractor.canonical()
    if tuned.looked_up:
        found["leave_one_out_top1"] = round(tuned.best, 4)
    return found

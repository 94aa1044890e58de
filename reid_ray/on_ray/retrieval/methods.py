"""Run one method of a study that needs no training. In: the method. Out: its finished folder."""

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from reid_ray.errors import ReidError, WeightsError
from reid_ray.methods.answer import Answered, answer, local_params
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Method, Params
from reid_ray.methods.shortlist import Shortlisted
from reid_ray.on_ray.retrieval.bench import RayBench
from reid_ray.runs.methods import Family, MethodFolder, Result, Status

Told = Callable[[int, str], None]
"""Called with the pairs done so far and what goes on in a few words."""


def run_method(
    method: Method, key: str, family: Family, bench: RayBench, folder: MethodFolder, *, k: int, told: Told
) -> Result:
    """Answer every query with one method; what cannot be done is `not_run` or `failed`.

    Args:
        k: references kept per query.
    """
    rows = bench.materials.rows
    started_at, began = time.time(), time.monotonic()
    result = Result(
        key=key,
        method=method.name,
        kind="baseline",
        family=family,
        scope="+".join(pd.unique(rows["dataset"])),
        started_at=started_at,
    )
    pairs = _Pairs(told)
    bench.told = pairs.tell
    try:
        found = answer(method, rows, bench, k=k, folder=Path(folder.path), progress=pairs.add)
    except ReidError as error:
        status: Status = "not_run" if isinstance(error, WeightsError) else "failed"
        folder.finish(result.but(status=status, note=str(error)))
        return folder.result()
    finished = result.but(
        scope="+".join(pd.unique(found.predictions["dataset"])),
        params=params_of(method, found) | pairs.params(),
        metrics=found.metrics,
        seconds=time.monotonic() - began,
    )
    folder.finish(finished, found.predictions, found.learnt)
    return finished


class _Pairs:
    """Counts pairs that were answered, and how fast."""

    def __init__(self, told: Told) -> None:
        self.done, self.fresh, self.seconds, self._told = 0, 0, 0.0, told
        self._last = time.monotonic()

    def tell(self, text: str) -> None:
        self._last = time.monotonic()
        self._told(self.done, text)

    def add(self, pairs: int, fresh: bool) -> None:
        now = time.monotonic()
        self.done += pairs
        if fresh:
            self.fresh, self.seconds = self.fresh + pairs, self.seconds + now - self._last
        self._last = now
        self._told(self.done, "")

    def params(self) -> Params:
        found: Params = {"pairs": self.done}
        if self.fresh and self.seconds:
            found["pairs_per_second"] = round(self.fresh / self.seconds, 1)
        return found


def params_of(method: Method, found: Answered) -> Params:
    """What a reader wants to know of a method, as flat scalars."""
    if isinstance(method, Fusing):
        config = method.config
        params: Params = {
            "parts": " + ".join(config.parts),
            "calibration": config.calibration,
            "combine": config.combine,
        }
        if config.shortlist is not None:
            params |= {"shortlist": config.shortlist.by, "candidates": config.shortlist.size}
        return params | found.params
    if isinstance(method, LocalFeatures | Shortlisted):
        config_of = method.local if isinstance(method, Shortlisted) else method
        return local_params(config_of.config, found.ready) | found.params
    return found.params

"""Embed photos with models as they come, spread over actors, and search. In: plans. Out: results.

Plain actors, not Ray Data: the photos lie decoded in the object store, so all that is to be moved is
positions, and an actor keeps its model from one call to the next.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.models import Three
from reid_ray.errors import ReidError, WeightsError
from reid_ray.on_ray.actors.pool import Call, Pool
from reid_ray.runs.methods import Family, MethodFolder, Result, Status
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.trial import Materials

CHUNK = (64, 4096)
"""Photos per call, at least and at most; a shard of vectors is one call's."""
_CALLS_PER_ACTOR = 8


@dataclass(frozen=True)
class EncoderPlan:
    """A model to be scored as it comes.

    Attributes:
        model, weights, input_px: as `backbones.build` takes them.
        seed: of random weights; the trials' own, so that both start from the same numbers.
        mean, std, interpolation: in place of the weights' own, where given.
        source: a sentence on where the weights are.
        missing: whether they are nowhere; `source` then says how to get them.
    """

    key: str
    name: str
    family: Family
    model: str
    weights: str
    input_px: int
    seed: int
    top_k: int
    mean: Three | None = None
    std: Three | None = None
    interpolation: str | None = None
    licence: str = ""
    source: str = ""
    missing: bool = False

    def result(self, scope: str, **fields: Any) -> Result:
        """The result with what is known beforehand."""
        params: dict[str, str | int | float | bool] = {
            "backbone": self.model,
            "input_px": self.input_px,
            "seed": self.seed,
        }
        if self.licence:
            params["licence"] = self.licence
        return Result(
            key=self.key,
            method=self.name,
            kind="baseline",
            family=self.family,
            scope=scope,
            params=params,
            **fields,
        )


@dataclass(frozen=True)
class _Ended:
    """What one call has to say.

    Attributes:
        note: on the model, or why the call failed.
        vectors: folder of the model's vectors.
    """

    seconds: float
    status: Status
    note: str
    vectors: Path | None = None


def score_encoders(
    plans: Sequence[EncoderPlan],
    materials: ray.ObjectRef,
    rows: pd.DataFrame,
    study: StudyFolder,
    *,
    actors: int,
    gpus: float,
    progress: Callable[[int], None],
) -> None:
    """Embed the photos of both sides with every plan, then search.

    A model that cannot be had is `not_run`, one that breaks `failed`, never 0; the others go on.

    Args:
        rows: the table that `materials` holds.
        progress: called with the number of photos embedded so far, over all plans.
    """
    scope = "+".join(pd.unique(rows["dataset"]))
    wanted = []
    for plan in plans:
        if plan.missing:
            result = plan.result(scope, status="not_run", note=plan.source, started_at=time.time())
            study.method(plan.key).finish(result)
        else:
            wanted.append(plan)
    used = np.flatnonzero(rows["split"].isin(["query", "reference"]))
    store = study.path.parent / "vectors"
    start = Embedder.options(num_gpus=gpus).remote  # type: ignore[attr-defined]
    with Pool(actors, start, kind="embedding", setting="scaling.embedding_actors") as pool:
        ended = _embed(pool, wanted, materials, used, store, actors, progress)
        calls = {}
        for plan in wanted:
            part = _worst(ended[plan.key])
            if part.status == "finished":
                folder = study.method(plan.key).path
                calls[plan.key] = Call("answer", (materials, plan, store, folder, part))
            else:
                result = plan.result(scope, status=part.status, note=part.note)
                study.method(plan.key).finish(result.but(seconds=part.seconds, started_at=time.time()))
        for _ in pool.run(calls):
            pass


def _worst(parts: Sequence[_Ended]) -> _Ended:
    """The first that failed, else the first, with the seconds of all."""
    chosen = next((part for part in parts if part.status != "finished"), parts[0])
    return replace(chosen, seconds=sum(part.seconds for part in parts))


def _embed(
    pool: Pool,
    plans: Sequence[EncoderPlan],
    materials: ray.ObjectRef,
    used: NDArray[np.int64],
    store: Path,
    actors: int,
    progress: Callable[[int], None],
) -> dict[str, list[_Ended]]:
    """All calls of all plans, one plan after another, so that an actor builds each model once."""
    size = int(np.clip(-(-len(used) // (actors * _CALLS_PER_ACTOR)), *CHUNK))
    spans = [used[start : start + size] for start in range(0, len(used), size)]
    calls = {
        f"{plan.key} {number}": Call("embed", (materials, plan, span, store))
        for plan in plans
        for number, span in enumerate(spans)
    }
    ended: dict[str, list[_Ended]] = {plan.key: [] for plan in plans}
    done = 0
    for name, part in pool.run(calls):
        key, number = name.split(" ")
        ended[key].append(part)
        done += len(spans[int(number)])
        progress(done)
    return ended


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class Embedder:
    """Embeds on one CPU or a share of a GPU; keeps its last model, and may be lost at any time."""

    def __init__(self) -> None:
        import torch

        use_gpu = ray.get_gpu_ids() and torch.cuda.is_available()
        self.device = torch.device("cuda" if use_gpu else "cpu")
        self.model: Any = None

    def ready(self) -> bool:
        """Whether it has been started."""
        return True

    def embed(
        self, materials: Materials, plan: EncoderPlan, positions: NDArray[np.int64], store: Path
    ) -> _Ended:
        """See that the vectors of some photos are in the store."""
        from reid_ray.studies.trial import OUT_OF_MEMORY, out_of_memory

        began = time.monotonic()
        try:
            model = self._load(plan, store)
            model.add(materials.images, positions)
        except WeightsError as error:
            return _Ended(time.monotonic() - began, "not_run", str(error))
        except ReidError as error:
            return _Ended(time.monotonic() - began, "failed", str(error))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return _Ended(time.monotonic() - began, "out_of_memory", OUT_OF_MEMORY)
        return _Ended(time.monotonic() - began, "finished", model.note, model.store.folder)

    def answer(
        self, materials: Materials, plan: EncoderPlan, store: Path, folder: Path, embedded: _Ended
    ) -> str:
        """Search with the vectors in the store, and write the result; returns the plan's key."""
        from reid_ray.datasets.encounters import encounter_codes
        from reid_ray.embedding.vectors import VectorStore, photo_keys
        from reid_ray.evaluation.metrics import summarise
        from reid_ray.evaluation.predictions import answer_queries
        from reid_ray.studies.trial import cosine_calibration, cosine_search

        started_at, began = time.time() - embedded.seconds, time.monotonic()
        kept = VectorStore(embedded.vectors) if embedded.vectors else None

        def vectors(positions: NDArray[np.int64]) -> NDArray[np.float32]:
            found = kept.read(photo_keys(materials.images, positions)) if kept else None
            if found is None:  # damaged meanwhile
                found = self._load(plan, store).vectors(materials.images, positions)
            return found

        codes = encounter_codes(materials.rows)
        search = cosine_search(vectors, k=plan.top_k, encounters=codes)
        calibrate = cosine_calibration(vectors, materials.rows)
        predictions = answer_queries(materials.rows, search, calibrate=calibrate)
        result = plan.result(
            "+".join(pd.unique(materials.rows["dataset"])),
            metrics=summarise(predictions),
            seconds=embedded.seconds + time.monotonic() - began,
            started_at=started_at,
            note=embedded.note,
        )
        MethodFolder(folder).finish(result, predictions)
        return plan.key  # the pool takes None for a lost call

    def _load(self, plan: EncoderPlan, store: Path) -> Any:
        from reid_ray.embedding.encoding import Model

        if self.model is None or self.model.name != plan.key:
            self.model = None  # its memory is free before the next one is built
            self.model = Model.build(
                plan.key,
                plan.model,
                weights=plan.weights,
                px=plan.input_px,
                seed=plan.seed,
                mean=plan.mean,
                std=plan.std,
                interpolation=plan.interpolation,
                store=store,
                device=self.device,
                about=plan.source,
                licence=plan.licence,
            )
        return self.model


def told_of(plans: Sequence[EncoderPlan], study: StudyFolder) -> list[str]:
    """What was not run and why, and whose licences apply to what was."""
    results = {plan.name: study.method(plan.key).result() for plan in plans}
    told = [
        f"{name} was not run: {result.note}" for name, result in results.items() if result.status == "not_run"
    ]
    licences = [
        f"{plan.name}: {plan.licence}"
        for plan in plans
        if plan.licence and results[plan.name].status == "finished"
    ]
    if licences:
        told.append(f"weights have licences of their own. {'; '.join(licences)}")
    return told

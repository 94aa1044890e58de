"""Run one method on Ray as a study does, for tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray

from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import Materials, PreparedImages
from reid_ray.methods.answer import Answered, answer
from reid_ray.methods.bench import Bench
from reid_ray.methods.embedding import Embedding
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Method
from reid_ray.methods.scorer import EmbeddingScorer
from reid_ray.on_ray.actors.pool import Pool
from reid_ray.on_ray.retrieval.bench import RayBench
from reid_ray.on_ray.retrieval.methods import _Pairs, params_of


@dataclass(frozen=True, eq=False)
class Given(Embedding):
    """An embedding whose vectors are given, float32 [rows, d]."""

    vectors: Any = None

    @classmethod
    def of(cls, vectors: np.ndarray, *, trained: bool = False) -> "Given":
        return cls("vectors", "key", {}, trained, vectors=vectors)

    def scorer(self, gallery: Gallery, bench: Bench) -> EmbeddingScorer:
        return EmbeddingScorer.of(self.vectors[gallery.photos])


POOLS: dict[int, Pool] = {}
"""Workers that several tests use one after another, by their number; they hold CPUs until `release`."""


def release() -> None:
    """Give all workers back, as what else runs on Ray waits for their CPUs."""
    while POOLS:
        POOLS.popitem()[1].release()


def run_one(
    study: Path,
    images: PreparedImages,
    rows: pd.DataFrame,
    method: Method | Matching,
    *,
    name: str = "a",
    actors: int = 1,
    k: int = 3,
    progress: Callable[[int, str], None] = lambda *_: None,
) -> tuple[Answered, dict[str, Any]]:
    """What it leaves behind, and its parameters; its folder is `<study>/methods/<name>`."""
    if isinstance(method, Matching):
        method = LocalFeatures(method, share_scores=True)
    materials = Materials(images, rows)
    pairs = _Pairs(progress)
    stores = {"features_store": study / "features", "vectors_store": study / "vectors"}
    workers = {"matching": actors, "embedding": 1, "gpus": 0.0}
    bench = RayBench(materials, ray.put(materials), **stores, **workers, told=pairs.tell)
    if actors not in POOLS:
        release()  # together they would want more CPUs than there are
    else:
        bench._pool, bench._kind = POOLS[actors], "matching"
    try:
        folder = study / "methods" / name
        found = answer(method, rows, bench, k=k, folder=folder, validate=False, progress=pairs.add)
    except BaseException:
        POOLS.pop(actors, None)
        bench.release()
        raise
    assert isinstance(bench._pool, Pool)
    POOLS[actors] = bench._pool
    return found, params_of(method, found) | pairs.params()

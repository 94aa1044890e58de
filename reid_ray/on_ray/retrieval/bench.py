"""Spread a method's work over the cluster, surviving the loss of workers.

In: photos in the object store, requests. Out: their results. Workers of one CPU match; workers that
embed have a share of a GPU where there is one. Both hold CPUs, so one kind is given back before the
other starts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import Materials
from reid_ray.embedding.encoding import Encoding
from reid_ray.embedding.vectors import VectorStore, photo_keys
from reid_ray.errors import ReidError, StorageError, TrialError, WeightsError
from reid_ray.matching.features import Features
from reid_ray.methods.bench import Request
from reid_ray.on_ray.actors.pool import Here, Pool, starting
from reid_ray.on_ray.actors.resumable import finish
from reid_ray.on_ray.retrieval.prepare import Embedded, EmbedRequest, FeaturesRequest
from reid_ray.progress import Step
from reid_ray.runs.methods import Status

PHOTOS_PER_TASK = 32
EMBEDDED_AT_ONCE = (64, 4096)
"""Photos of one request, at least and at most; a shard of vectors is one request's."""
_REQUESTS_PER_WORKER = 8

Positions = NDArray[np.int64]


@dataclass
class RayBench:
    """A bench of the whole cluster; use it as a context, which gives the workers back.

    Attributes:
        materials, shared: photos and table, here and in the object store.
        features_store, vectors_store: folders.
        matching, embedding: workers of either kind.
        gpus: of a worker that embeds.
        told: called with a few words whenever something went on.
        embedded: called with the photos embedded so far, of all models.
        here: little is left to do, so it is done in this process.
        nodes: ids of the nodes on which workers that match may be, each as often as it may have one; () is
            anywhere.
    """

    materials: Materials
    shared: ray.ObjectRef
    features_store: Path
    vectors_store: Path
    matching: int
    embedding: int
    gpus: float
    told: Callable[[str], None] = lambda _: None
    embedded: Callable[[int], None] = lambda _: None
    _vectors: dict[Encoding, NDArray[np.float32]] = field(default_factory=dict)
    _kind: str = ""
    _step: Step = field(default_factory=Step)
    here: bool = False
    nodes: Sequence[str] = ()
    _stopped: bool = False
    _pool: Pool | Here | None = None

    def __enter__(self) -> "RayBench":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        """Give all workers back."""
        if self._pool is not None:
            self._pool.release()
        self._pool, self._kind = None, ""

    def widen(self, matching: int) -> None:
        """Match with so many workers from now on, on any node."""
        self.matching, self.nodes = matching, ()
        if isinstance(self._pool, Pool) and self._kind == "matching":
            self._pool.grow(matching)

    def stop(self) -> None:
        """Give all workers back, and up what they do; called from another thread."""
        self._stopped = True
        if isinstance(self._pool, Pool):
            self._pool.stop()

    def pool(self, kind: str) -> Pool | Here:
        """Workers that match or embed."""
        if self.here:
            return Here()
        if self._stopped:
            raise TrialError(f"{kind}: stopped")
        if self._pool is None or self._kind != kind:
            self.release()
            match = kind == "matching"
            self._pool = Pool(
                self.matching if match else self.embedding,
                starting(matches=True) if match else starting(gpus=self.gpus),
                kind=kind,
                setting=f"scaling.{kind}_actors",
                nodes=self.nodes if match else (),
            )
            self._kind = kind
        return self._pool

    def features(self, positions: Positions, config: Matching) -> Features:
        """By the workers that match: others would wait for ever for the CPUs that these hold.

        Photos are always taken in the same groups, so that what was kept on disk is found again whatever
        photos are asked for.
        """
        group_n, place_n = self._groups
        wanted = np.unique(group_n[positions])
        requests = {
            f"{group:08d}": FeaturesRequest(np.flatnonzero(group_n == group), config, self.features_store)
            for group in wanted
        }
        parts: dict[int, Features] = {}
        for name, features in self.pool("matching").run(requests, self.shared):
            parts[int(name)] = features
            taken = min(len(positions), len(parts) * PHOTOS_PER_TASK)
            self.tell("features of photos", taken, len(positions))
        return Features.pack(parts[int(group_n[at])].image(int(place_n[at])) for at in positions)

    @cached_property
    def _groups(self) -> tuple[Positions, Positions]:
        """Of each row its group of `PHOTOS_PER_TASK`, -1 where it takes no part, and its place in it."""
        rows = self.materials.rows
        used = rows["split"].ne("none") if "split" in rows else pd.Series(True, rows.index)
        number = used.groupby(rows["dataset"]).cumsum() - 1
        group = pd.factorize(rows["dataset"] + "/" + (number // PHOTOS_PER_TASK).astype(str))[0]
        group_n = np.where(used, group, -1).astype(np.int64)
        return group_n, np.asarray((number % PHOTOS_PER_TASK).to_numpy(np.int64))

    def vectors(self, encoding: Encoding, positions: Positions) -> NDArray[np.float32]:
        """Of all photos that take part, once per model.

        Raises:
            WeightsError, StorageError: the model cannot be had. TrialError: out of memory.
        """
        if encoding not in self._vectors:
            self._vectors[encoding] = self._embed_all(encoding)
        return self._vectors[encoding][positions]

    def _embed_all(self, encoding: Encoding) -> NDArray[np.float32]:
        rows = self.materials.rows
        used = np.flatnonzero(rows["split"].ne("none")) if "split" in rows else np.arange(len(rows))
        ended = worst(self.embed([encoding], used)[encoding])
        if ended.status != "finished" or ended.vectors is None:
            errors: dict[Status, type[ReidError]] = {"not_run": WeightsError, "failed": StorageError}
            raise errors.get(ended.status, TrialError)(ended.note)
        vectors = VectorStore(ended.vectors).read(photo_keys(self.materials.images, used))
        if vectors is None:
            raise StorageError(f"{ended.vectors}: vectors were damaged meanwhile; run the same again")
        found = np.zeros((len(rows), vectors.shape[1]), np.float32)
        found[used] = vectors
        return found

    def embed(self, encodings: Sequence[Encoding], used: Positions) -> dict[Encoding, list[Embedded]]:
        """Embed some photos with several models, one after another, so that a worker builds each once."""
        size = int(np.clip(-(-len(used) // (self.embedding * _REQUESTS_PER_WORKER)), *EMBEDDED_AT_ONCE))
        spans = [used[at : at + size] for at in range(0, len(used), size)]
        requests = {
            f"{model} {number}": EmbedRequest(encoding, span, self.vectors_store)
            for model, encoding in enumerate(encodings)
            for number, span in enumerate(spans)
        }
        ended: dict[Encoding, list[Embedded]] = {encoding: [] for encoding in encodings}
        done = 0
        for name, part in self.pool("embedding").run(requests, self.shared):
            request = requests[name]
            ended[request.encoding].append(part)
            done += len(request.positions)
            self.embedded(done)
        return ended

    def photo(self, position: int) -> NDArray[np.uint8]:
        return self.materials.images[position]

    def share(self, value: Any) -> Any:
        return ray.put(value)

    def run(
        self, requests: Mapping[str, Request], *shared: Any, folder: Path | None = None
    ) -> Iterator[tuple[str, Any, bool]]:
        pool = self.pool("matching")
        if folder is not None:
            yield from finish(pool, requests, folder, *shared)
            return
        for name, found in pool.run(requests, *shared):
            yield name, found, True

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        self.told(self._step.text(text, done, total))


def worst(parts: Sequence[Embedded]) -> Embedded:
    """The first that failed, else the first, with the seconds of all."""
    chosen = next((part for part in parts if part.status != "finished"), parts[0])
    return Embedded(sum(part.seconds for part in parts), chosen.status, chosen.note, chosen.vectors)

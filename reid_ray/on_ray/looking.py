"""Score reference photos for photos that look for their animal, a block at a time, on the whole cluster.

In: decoded photos, a model or a local-feature method. Out: blocks of scores [queries, references];
never all of them at once. Scores grow with likeness and are spread evenly: cosines as they are,
counts by their logarithm.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import ray
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.config.models import Pretrained
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.vectors import VectorStore, photo_keys
from reid_ray.errors import StorageError, WeightsError
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import EXCLUDED, References, Setting, settings_of
from reid_ray.matching.tuning import best_of, sample
from reid_ray.on_ray.actors.pool import Call, Pool
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.encoders import Embedder
from reid_ray.studies.planning import as_it_comes

Positions = NDArray[np.int64]
Block = tuple[slice, NDArray[np.float32]]
"""Which of the looking photos, and their scores [q, g]; minus infinity where a photo must not answer."""

QUERIES_PER_BLOCK = 256
PHOTOS_PER_TASK = 32
PAIRS_PER_CALL = 4096
VECTORS_PER_CALL = 256
_TUNING_LOOKUPS = 100


class Looker(Protocol):
    """Something that tells how alike photos are."""

    @property
    def name(self) -> str: ...

    def scores(
        self, looking: Positions, among: Positions, out_qg: NDArray[np.bool_] | None = None
    ) -> Iterator[Block]:
        """Blocks in any order; `out_qg` marks references that are as if they were not there."""
        ...


@dataclass(frozen=True)
class EmbeddingLooker:
    """Cosine of embeddings."""

    name: str
    vectors_nd: NDArray[np.float32]
    """A unit vector per photo of the table."""

    def scores(
        self, looking: Positions, among: Positions, out_qg: NDArray[np.bool_] | None = None
    ) -> Iterator[Block]:
        references_gd = self.vectors_nd[among]
        for at in range(0, len(looking), QUERIES_PER_BLOCK):
            rows = slice(at, min(at + QUERIES_PER_BLOCK, len(looking)))
            scores_qg = self.vectors_nd[looking[rows]] @ references_gd.T
            if out_qg is not None:
                scores_qg[out_qg[rows]] = EXCLUDED
            yield rows, scores_qg


@dataclass(frozen=True)
class LocalLooker:
    """Matches of local features, by actors of one CPU each that may be lost."""

    config: Matching
    pool: Pool
    features: Features
    """Of every photo of the table."""
    setting: Setting

    @property
    def name(self) -> str:
        return self.config.name

    def scores(
        self, looking: Positions, among: Positions, out_qg: NDArray[np.bool_] | None = None
    ) -> Iterator[Block]:
        references = ray.put(_searched(self.features.take(among)))
        queries = ray.put(self.features.take(looking))
        step = max(1, PAIRS_PER_CALL // max(1, len(among)))
        starts = list(range(0, len(looking), step))
        calls = {}
        for at in starts:
            stop = min(at + step, len(looking))
            calls[f"{at:08d}"] = Call(
                "score",
                (
                    references,
                    queries,
                    at,
                    stop,
                    self.config,
                    self.setting,
                    None if out_qg is None else out_qg[at:stop],
                ),
            )
        for name, arrays in self.pool.run(calls):
            at = int(name)
            scores = arrays["scores"]
            even = np.sign(scores) * np.log1p(np.abs(scores))
            yield slice(at, at + len(scores)), even.astype(np.float32)


def take_features(
    config: Matching,
    shared: ray.ObjectRef,
    photos: int,
    *,
    pool: Pool,
    store: Path,
    progress: Callable[[int], None],
) -> Features:
    """Of all photos, those kept in `store` from there."""
    calls = {
        f"{at:08d}": Call(
            "extract", (shared, np.arange(at, min(at + PHOTOS_PER_TASK, photos)), config, store)
        )
        for at in range(0, photos, PHOTOS_PER_TASK)
    }
    parts: dict[str, Features] = {}
    for name, features in pool.run(calls):
        parts[name] = features
        progress(min(photos, len(parts) * PHOTOS_PER_TASK))
    return Features.concat(parts[name] for name in sorted(parts))


def choose_setting(
    config: Matching,
    features: Features,
    identities_g: NDArray[np.int64],
    encounters_g: NDArray[np.int64],
    *,
    pool: Pool,
    progress: Callable[[int], None],
) -> Setting:
    """What the config leaves open, chosen by look-ups of references among each other.

    Args:
        features: of the references.
        progress: called with the look-ups done, of those that `tuning_lookups` counts.
    """
    settings = settings_of(config)
    lookups = tuning_lookups(config, len(features))
    if not len(lookups):
        return settings[0]
    side = ray.put(_searched(features, identities_g, encounters_g))
    few = np.array_split(lookups, max(1, len(lookups) * len(features) // PAIRS_PER_CALL))
    calls = {
        f"{n:08d}": Call("tune", (side, config, part, None, None)) for n, part in enumerate(few) if len(part)
    }
    right: dict[str, NDArray[np.float64]] = {}
    done = 0
    for name, arrays in pool.run(calls):
        # The second row: without the own encounter, as look-ups are made here.
        right[name] = arrays["right"][1]
        done += len(calls[name].arguments[2])
        progress(done)
    total = np.sum([right[name] for name in sorted(right)], axis=0)
    return best_of(settings, total, len(lookups)).setting


def tuning_lookups(config: Matching, references: int) -> Positions:
    """References that are looked up to choose a setting; none where there is nothing to choose."""
    if len(settings_of(config)) == 1:
        return np.zeros(0, np.int64)
    return sample(references, most=_TUNING_LOOKUPS, seed=config.seed)


def _searched(
    features: Features,
    identities_g: NDArray[np.int64] | None = None,
    encounters_g: NDArray[np.int64] | None = None,
) -> References:
    names = np.arange(len(features)) if identities_g is None else identities_g
    unknown = np.full(len(features), -1, np.int64)
    packed = Packed.of(features).sketched()
    return References(packed, names, unknown if encounters_g is None else encounters_g)


def embedding_looker(
    model: Pretrained,
    images: PreparedImages,
    shared: ray.ObjectRef,
    *,
    short_px: int,
    store: Path,
    resources: Cluster,
    progress: Callable[[int], None],
) -> EmbeddingLooker:
    """Vectors of all photos, those kept in `store` and others, each CPU or GPU taking its share.

    Raises:
        WeightsError: the weights are missing or do not fit; ConfigError: no such model.
    """
    plan = as_it_comes(model, "photos", short_px=short_px, seed=0, top_k=1)
    if plan.missing:
        raise WeightsError(f"{model.name}: {plan.source}")
    actors = resources.gpus or resources.cpus
    start = Embedder.options(num_gpus=1 if resources.gpus else 0).remote  # type: ignore[attr-defined]
    calls = {
        f"{at:08d}": Call(
            "embed", (shared, plan, np.arange(at, min(at + VECTORS_PER_CALL, len(images))), store)
        )
        for at in range(0, len(images), VECTORS_PER_CALL)
    }
    folder, done = store, 0
    with Pool(actors, start, kind="embedding", setting="scaling.embedding_actors") as pool:
        for name, ended in pool.run(calls):
            if ended.status != "finished":
                raise WeightsError(f"{model.name}: {ended.note}")
            folder = ended.vectors
            done += len(calls[name].arguments[2])
            progress(done)
    vectors = VectorStore(folder).read(photo_keys(images, np.arange(len(images))))
    if vectors is None:
        raise StorageError(f"{folder}: vectors were damaged meanwhile; run the same again")
    return EmbeddingLooker(model.name, vectors)

"""Prepare both sides of one dataset for a local-feature method. In: positions of photos. Out: features
in the object store, with the extractor and setting that were chosen on the references alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.matching import Extractor, LightGlue, Matching
from reid_ray.datasets.encounters import encounter_codes
from reid_ray.matching import vlad
from reid_ray.matching.engine import Packed
from reid_ray.matching.features import Features
from reid_ray.matching.scoring import References, Setting, settings_of
from reid_ray.matching.shortlist import unit
from reid_ray.matching.tuning import Tuned, best_of, sample
from reid_ray.on_ray.actors.pool import Call, Pool
from reid_ray.on_ray.actors.resumable import finish
from reid_ray.on_ray.matching_blocks import Looking, Vectors
from reid_ray.on_ray.vectors import Embedded
from reid_ray.runs.methods import MethodFolder, method_key
from reid_ray.splits.learnable import trained_on

PHOTOS_PER_TASK = 32
PAIRS_PER_CHUNK = 4096
"""A second or two of work: long against a call's overhead, short against what a crash may cost."""
NETWORK_PAIRS_PER_CHUNK = 64
"""As above, where a network looks at every pair."""
KEPT_PAIRS = 2**26
"""Scores of a dataset are kept for other methods up to so many pairs (256 MiB a view)."""

Positions = NDArray[np.int64]
Labels = tuple[Positions, Positions]
TunedPair = tuple[Tuned, Tuned]
"""Chosen among the references that the config leaves in, and among those of other encounters."""


@dataclass(frozen=True)
class Side:
    """One dataset's references by one extractor.

    Attributes:
        references: `References` in the object store.
        vectors_gd: what the method's shortlist goes by; None without one.
        centres: of VLAD, where the shortlist goes by that.
    """

    extractor: Extractor
    references: ray.ObjectRef
    keypoints: Positions
    vectors_gd: NDArray[np.float32] | None = None
    centres: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Prepared:
    """Everything that ranking one dataset takes.

    Attributes:
        references, looking, vectors: `References`, `Looking` and (with a shortlist) `Vectors` in the
            object store.
        keypoints: of all photos of both sides.
        chunks: folder of the method's finished work on these very photos.
        kept: folder of scores that several methods share; None keeps none.
    """

    references: ray.ObjectRef
    looking: ray.ObjectRef
    vectors: ray.ObjectRef | None
    config: Matching
    tuned: TunedPair
    keypoints: Positions
    queries: int
    chunks: Path
    kept: Path | None

    @property
    def settings(self) -> tuple[Setting, Setting]:
        return self.tuned[0].setting, self.tuned[1].setting


@dataclass(frozen=True)
class Preparer:
    """Prepares dataset by dataset, for one method.

    Attributes:
        shared: `PreparedImages`, or an object with them as `images`, in the object store.
        folder: of the method; its chosen settings are kept below `chunks/`.
        embedded: what a shortlist goes by; None with VLAD and without a shortlist.
        keep: keep scores of all pairs, for other methods.
        told: called with a few words whenever something went on.
        describe: make VLAD vectors also without a shortlist of the method's own.
    """

    shared: ray.ObjectRef
    rows: pd.DataFrame
    config: Matching
    folder: MethodFolder
    pool: Pool
    k: int
    embedded: Embedded | None
    keep: bool
    told: Callable[[str], None]
    describe: bool = False

    def __call__(self, queries: Positions, references: Positions, labels: Labels) -> Prepared:
        """Both sides of one dataset; `labels` of queries and of references."""
        chunks = self._chunks(queries, references)
        side, tuned = self._choose(references, labels[1], chunks)
        features = self.features(queries, side.extractor)
        encounters = encounter_codes(self.rows)[queries]
        vectors = None
        if side.vectors_gd is not None:
            vectors = ray.put(Vectors(self._vectors(queries, features, side.centres), side.vectors_gd))
        return Prepared(
            side.references,
            ray.put(Looking(features, labels[0], encounters)),
            vectors,
            self.config.model_copy(update={"extractor": side.extractor}),
            tuned,
            np.concatenate([features.keypoints, side.keypoints]),
            len(queries),
            chunks,
            self._kept(queries, references, side.extractor, tuned),
        )

    def _chunks(self, queries: Positions, references: Positions) -> Path:
        keys = self.rows["key"].to_numpy(object)
        fingerprint = method_key(
            "chunks", self.config.canonical(), self.k, list(keys[queries]), list(keys[references])
        )
        return self.folder.path / "chunks" / fingerprint

    def _kept(
        self, queries: Positions, references: Positions, extractor: Extractor, tuned: TunedPair
    ) -> Path | None:
        """Known by all that decides the scores; equal for methods that differ only in how these are
        used.
        """
        if not self.keep or len(queries) * len(references) > KEPT_PAIRS:
            return None
        plain = {"extractor": extractor, "alternatives": (), "shortlist": None, "name": "any"}
        keys = self.rows["key"].to_numpy(object)
        return self._beside("scores") / method_key(
            self.config.model_copy(update=plain).canonical(),
            str([one.setting for one in tuned]),
            list(keys[queries]),
            list(keys[references]),
        )

    def _beside(self, name: str) -> Path:
        # <study>/methods/<key>: what several methods share lies beside `methods`.
        return self.folder.path.absolute().parents[1] / name

    def _choose(self, positions: Positions, labels: Positions, chunks: Path) -> tuple[Side, TunedPair]:
        """References with the extractor and setting chosen on them alone."""
        extractors = (self.config.extractor, *self.config.alternatives)
        best: tuple[Side, TunedPair] | None = None
        for place, extractor in enumerate(extractors):
            side = self._side(positions, labels, extractor)
            tuned = self._tune(side, positions, chunks, place, alone=len(extractors) == 1)
            if best is None or tuned[0].best > best[1][0].best:
                best = side, tuned
        assert best is not None
        return best

    def _side(self, positions: Positions, labels: Positions, extractor: Extractor) -> Side:
        features = self.features(positions, extractor)
        references = References(
            Packed.of(features).sketched(),
            labels,
            encounter_codes(self.rows)[positions],
            features if self.config.verify else None,
        )
        vectors = centres = None
        if self.config.shortlist is not None or self.describe:
            centres = None if self.embedded else vlad.learn_centres(features)
            vectors = self._vectors(positions, features, centres)
        return Side(extractor, ray.put(references), features.keypoints, vectors, centres)

    def _vectors(
        self, positions: Positions, features: Features, centres: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        if self.embedded is not None:
            return unit(self.embedded.vectors_nd[positions])
        assert centres is not None
        return unit(vlad.describe(features, centres))

    def features(self, positions: Positions, extractor: Extractor) -> Features:
        """Features of the given photos, from the study's store where they were taken before."""
        config = self.config.model_copy(update={"extractor": extractor})
        # By the same actors that match: tasks would wait for ever for the CPUs that these hold.
        store = self._beside("features")
        calls = {
            f"features-{at:08d}": Call(
                "extract", (self.shared, positions[at : at + PHOTOS_PER_TASK], config, store)
            )
            for at in range(0, len(positions), PHOTOS_PER_TASK)
        }
        parts: dict[str, Features] = {}
        for name, features in self.pool.run(calls):
            parts[name] = features
            taken = min(len(positions), len(parts) * PHOTOS_PER_TASK)
            self.told(f"features of {taken} of {len(positions)} photos")
        return Features.concat(parts[name] for name in sorted(parts))

    def _tune(self, side: Side, positions: Positions, chunks: Path, place: int, *, alone: bool) -> TunedPair:
        """The settings, chosen on the references alone; nothing is looked up for a single one."""
        settings = settings_of(self.config)
        if alone and len(settings) == 1:
            return (Tuned(settings[0], (), 0),) * 2
        trained = self.embedded is not None and self.embedded.trained
        lookups, hidden = lookups_among(
            self.rows, positions, trained=trained, most=self.config.tuning_lookups, seed=self.config.seed
        )
        if not len(lookups):
            lookups = sample(len(positions), most=self.config.tuning_lookups, seed=self.config.seed)
        size = chunk_size(self.config, len(positions))
        vectors = None if side.vectors_gd is None else ray.put(side.vectors_gd)
        calls = {
            f"tuning-{place}-{at:08d}": Call(
                "tune", (side.references, self.config, lookups[at : at + size], vectors, hidden)
            )
            for at in range(0, len(lookups), size)
        }
        ended: dict[str, Any] = {}
        for name, arrays, _ in finish(self.pool, calls, chunks):
            ended[name] = arrays["right"]
            tried = min(len(lookups), len(ended) * size)
            self.told(f"settings tried on {tried} of {len(lookups)} references")
        right = sum((ended[name] for name in sorted(ended)), np.zeros((2, len(settings))))
        first, second = (best_of(settings, one, len(lookups)) for one in right)
        return first, second


def chunk_size(config: Matching, references: int) -> int:
    """Photos of a chunk, so that it has about `PAIRS_PER_CHUNK` pairs."""
    matched = references
    if config.shortlist is not None and config.shortlist.curve != "all":
        matched = min(references, config.shortlist.size)
    return max(1, PAIRS_PER_CHUNK // max(1, matched))


def ranked_size(config: Matching, references: int) -> int:
    """As `chunk_size`, where candidates may be looked at again."""
    size = chunk_size(config, references)
    if isinstance(config.verify, LightGlue):
        return max(1, min(size, NETWORK_PAIRS_PER_CHUNK // config.verify.candidates))
    return size


def lookups_among(
    rows: pd.DataFrame, positions: Positions, *, trained: bool, most: int, seed: int
) -> tuple[Positions, NDArray[np.bool_] | None]:
    """Which references of one dataset are looked up, at most `most`, and which never answer.

    A trained model is over-sure of the photos it was trained on: of those only the photos kept out
    of training (validation) are looked up, as a query would be, among all the others. None are
    where none were kept out.
    """
    known = trained_on(rows)[positions] if trained else np.zeros(len(positions), bool)
    if not known.any():
        return sample(len(positions), most=most, seed=seed), None
    able = np.flatnonzero(~known)
    return able[sample(len(able), most=most, seed=seed)], ~known

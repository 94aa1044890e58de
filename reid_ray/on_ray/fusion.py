"""Answer with several methods as one. In: the methods' own results, photos, a config. Out: one
prediction per query, and the curves that joined them.

Curves and weights are fitted, dataset by dataset, on pairs of reference photos: no query photo has
a part in it. Finished chunks are kept as those of matching are.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.fusion import VLAD, Fusion
from reid_ray.config.matching import Matching
from reid_ray.datasets.encounters import encounter_codes
from reid_ray.errors import DatasetError
from reid_ray.evaluation.fusion import NEW_SHARE, Fitted, Fused, Pairs, as_lookups, fit
from reid_ray.evaluation.open_set import choose_threshold
from reid_ray.evaluation.predictions import Sides, dataset_sides, pool, predictions_table
from reid_ray.evaluation.ranking import Ranked, concat
from reid_ray.matching.extract import check_weights
from reid_ray.matching.shortlist import unit
from reid_ray.on_ray.actors.pool import Call, Pool
from reid_ray.on_ray.actors.resumable import finish
from reid_ray.on_ray.fusion_blocks import LocalPart, Task
from reid_ray.on_ray.matching import Params, Progress, ranked_of
from reid_ray.on_ray.matching_blocks import Vectors
from reid_ray.on_ray.matching_sides import PAIRS_PER_CHUNK, Prepared, Preparer, lookups_among
from reid_ray.on_ray.vectors import Embedded
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, method_key
from reid_ray.studies.planning import pair_count
from reid_ray.studies.trial import within

FEWEST_SAME = 20
"""A dataset with fewer pairs of one animal to fit on is fitted with the pairs of all datasets."""

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class LocalMethod:
    """A local-feature method that is a part, with its folder: what it chose is not chosen again."""

    config: Matching
    folder: MethodFolder


@dataclass(frozen=True)
class FusionParts:
    """What a fusion joins, in the config's order, and what its shortlist goes by (None: VLAD)."""

    methods: tuple[LocalMethod | Embedded, ...]
    shortlist: Embedded | None = None

    def embeddings(self) -> list[Embedded]:
        parts = [part for part in self.methods if isinstance(part, Embedded)]
        return parts + ([self.shortlist] if self.shortlist else [])


@dataclass(frozen=True)
class Joined:
    """Predictions, and what was fitted: flat scalars, and each dataset's `Fused`."""

    predictions: pd.DataFrame
    params: Params
    fused: dict[str, Fused]


def run_fusion(
    shared: ray.ObjectRef,
    rows: pd.DataFrame,
    config: Fusion,
    parts: FusionParts,
    folder: MethodFolder,
    *,
    actors: int,
    k: int,
    progress: Progress = lambda _done, _total, _detail: None,
) -> Joined:
    """Fit on the references of each dataset, then answer its queries.

    Datasets that a part does not know are left out. The other arguments are `run_matching`'s.

    Raises:
        DatasetError: no pairs to fit on. ResourceError, TrialError, WeightsError: as
            `run_matching`.
    """
    for part in parts.methods:
        if isinstance(part, LocalMethod):
            check_weights(part.config)
    for embedding in parts.embeddings():
        rows = within(rows, embedding.datasets)
    most = config.shortlist.size if config.shortlist else None
    run = _Run(shared, rows, config, parts, folder, k, progress, pair_count(rows, most=most))
    with Pool(actors) as workers:
        run.pool = workers
        # All datasets are looked up before any is answered: small ones borrow the others' pairs.
        for sides in dataset_sides(rows):
            run.look_up(sides)
        run.fit()
        answers = [run.answers(one) for one in run.datasets]
    fitted = {name: fused.as_json() for name, fused in run.fused.items()}
    files.write_json(folder.path / "fusion.json", {"parts": list(config.parts), "datasets": fitted})
    return Joined(pool(answers), run.params(), run.fused)


@dataclass(frozen=True)
class _Dataset:
    """One dataset with its parts in the object store, and the pairs of its references."""

    sides: Sides
    task: Task
    near: ray.ObjectRef | None
    parts: tuple[ray.ObjectRef | LocalPart, ...]
    prepared: tuple[Prepared, ...]
    pairs: Pairs
    chunks: Path

    def usable(self) -> bool:
        """Whether its own pairs are enough to fit on."""
        return int(self.pairs.same.sum()) >= FEWEST_SAME


@dataclass
class _Run:
    """One fusion under way."""

    shared: ray.ObjectRef
    rows: pd.DataFrame
    config: Fusion
    parts: FusionParts
    folder: MethodFolder
    k: int
    progress: Progress
    total: int
    done: int = 0
    pool: Pool = field(init=False)
    datasets: list[_Dataset] = field(default_factory=list)
    fused: dict[str, Fused] = field(default_factory=dict)
    right: dict[str, float] = field(default_factory=dict)
    threshold: dict[str, float] = field(default_factory=dict)

    def tell(self, detail: str = "") -> None:
        self.progress(self.done, self.total, detail)

    def look_up(self, sides: Sides) -> None:
        """Score pairs of one dataset's references by all parts."""
        prepared: dict[int, Prepared] = {}
        for place, part in enumerate(self.parts.methods):
            if isinstance(part, LocalMethod):
                prepared[place] = self._prepare(part, sides, first=not prepared)
        parts = tuple(
            LocalPart(one.references, one.looking, one.config, one.settings, one.kept)
            if (one := prepared.get(place)) is not None
            else _vectors(part, sides)
            for place, part in enumerate(self.parts.methods)
        )
        near = self._near(sides, next(iter(prepared.values()), None))
        lookups, hidden = lookups_among(
            self.rows,
            sides.references,
            trained=any(e.trained for e in self.parts.embeddings()),
            most=self.config.lookups,
            seed=self.config.seed,
        )
        task = self._task(sides, hidden)
        size = self._chunk_size(sides)
        calls = {
            f"pairs-{at:08d}": Call("pairs", (task, lookups[at : at + size], near, *parts))
            for at in range(0, len(lookups), size)
        }
        chunks = self._chunks(sides, tuple(prepared.values()))
        found = {}
        for name, arrays, _ in finish(self.pool, calls, chunks):
            found[name] = Pairs(**arrays)
            self.tell(f"{min(len(lookups), len(found) * size)} of {len(lookups)} references looked up")
        pairs = Pairs.concat([found[name] for name in sorted(found)] or [Pairs.none(len(parts))])
        self.datasets.append(_Dataset(sides, task, near, parts, tuple(prepared.values()), pairs, chunks))

    def _prepare(self, part: LocalMethod, sides: Sides, *, first: bool) -> Prepared:
        behind, own = part.config.shortlist is not None, self.config.shortlist
        prepare = Preparer(
            self.shared,
            self.rows,
            part.config,
            part.folder,
            self.pool,
            self.k,
            self.parts.shortlist if behind else None,
            own is None,
            self.tell,
            describe=first and own is not None and own.by == VLAD,
        )
        return prepare(sides.queries, sides.references, (sides.query_labels, sides.reference_labels))

    def _near(self, sides: Sides, local: Prepared | None) -> ray.ObjectRef | None:
        """What the shortlist goes by."""
        if self.config.shortlist is None:
            return None
        if self.parts.shortlist is not None:
            return _vectors(self.parts.shortlist, sides)
        assert local is not None  # the config allows VLAD only beside local features
        return local.vectors

    def _task(self, sides: Sides, hidden: NDArray[np.bool_] | None) -> Task:
        encounters = encounter_codes(self.rows)
        local = [part.config for part in self.parts.methods if isinstance(part, LocalMethod)]
        return Task(
            sides.query_labels,
            sides.reference_labels,
            encounters[sides.queries],
            encounters[sides.references],
            hidden,
            any(config.exclude_same_encounter for config in local),
            self.config.shortlist.size if self.config.shortlist else None,
            self.config.seed,
        )

    def _chunk_size(self, sides: Sides) -> int:
        matched = len(sides.references)
        if self.config.shortlist is not None:
            matched = min(matched, self.config.shortlist.size)
        return max(1, PAIRS_PER_CHUNK // max(1, matched))

    def _chunks(self, sides: Sides, prepared: tuple[Prepared, ...]) -> Path:
        """Named by the photos and by what the parts chose."""
        keys = self.rows["key"].to_numpy(object)
        fingerprint = method_key(
            "fusion",
            self.config.canonical(),
            self.k,
            list(keys[sides.queries]),
            list(keys[sides.references]),
            [str(one.settings) for one in prepared],
            [one.config.extractor.canonical() for one in prepared],
        )
        return self.folder.path / "chunks" / fingerprint

    @property
    def new_animals(self) -> bool:
        """Whether some queries show animals without a reference."""
        return any(
            not np.isin(one.sides.query_labels, one.sides.reference_labels).all() for one in self.datasets
        )

    def fit(self) -> None:
        """Curves and weights of each dataset; of all together where one has too few pairs."""
        everyone = None
        for one in self.datasets:
            name = one.sides.dataset
            if one.usable():
                fitted = self._fit(one.pairs, name)
                said = fitted.said
            else:
                fitted = everyone = everyone or self._fit(self._everyone(), name)
                said = fitted.said[self._place_among_everyone(one)]
            self.fused[name], self.right[name] = fitted.fused, fitted.top1
            lookups = as_lookups(said, one.pairs, one.sides.reference_labels)
            self.threshold[name] = choose_threshold(lookups)

    def _fit(self, pairs: Pairs, dataset: str) -> Fitted:
        try:
            return fit(
                pairs,
                kind=self.config.calibration,
                combine=self.config.combine,
                choose_weights=self.config.weights == "chosen",
                new_share=NEW_SHARE if self.new_animals else 0.0,
            )
        except ValueError as error:
            raise DatasetError(
                f"{self.config.name}: nothing to fit on in the reference photos of "
                f"{dataset}: {error}; are there animals with several reference "
                "photos, and validation photos where a trained model is a part?"
            ) from None

    def _everyone(self) -> Pairs:
        """Pairs of all datasets; look-ups are numbered anew, so that they stay apart."""
        parts, first = [], 0
        for one in self.datasets:
            parts.append(replace(one.pairs, lookup=one.pairs.lookup + first))
            first += len(one.sides.references)
        return Pairs.concat(parts)

    def _place_among_everyone(self, wanted: _Dataset) -> slice:
        start = 0
        for one in self.datasets:
            if one is wanted:
                break
            start += len(one.pairs)
        return slice(start, start + len(wanted.pairs))

    def answers(self, one: _Dataset) -> pd.DataFrame:
        """Predictions of one dataset, with a threshold where it has queries of new animals."""
        sides = one.sides
        table = predictions_table(self.rows, sides.queries, sides.references, self.answer(one))
        if not table["known"].all():
            table["threshold"] = self.threshold[sides.dataset]
        return table

    def answer(self, one: _Dataset) -> Ranked:
        """Rank one dataset's references for each of its queries."""
        fused = self.fused[one.sides.dataset]
        size, queries = self._chunk_size(one.sides), len(one.sides.queries)
        calls = {
            f"ranked-{at:08d}": Call(
                "fuse", (one.task, fused, at, min(at + size, queries), self.k, one.near, *one.parts)
            )
            for at in range(0, queries, size)
        }
        matched = min(len(one.sides.references), one.task.size or len(one.sides.references))
        ended = {}
        for name, arrays, _ in finish(self.pool, calls, one.chunks):
            ended[name] = ranked_of(arrays)
            self.done += len(ended[name]) * matched
            self.tell()
        return concat([ended[name] for name in sorted(ended)])

    def params(self) -> Params:
        """What was joined and fitted, as flat scalars."""
        config = self.config
        params: Params = {
            "parts": " + ".join(config.parts),
            "calibration": config.calibration,
            "combine": config.combine,
            "pairs": self.total,
        }
        if config.shortlist is not None:
            params |= {"shortlist": config.shortlist.by, "candidates": config.shortlist.size}
        for name, fused in self.fused.items():
            first = fused.curves[0]
            found: Params = {
                "weights": ", ".join(f"{weight:.3g}" for weight in fused.weights),
                "pairs_fitted": first.pairs,
                "same_pairs_fitted": first.same,
                "references_top1": round(self.right[name], 4),
            }
            for what, value in found.items():
                params[what if len(self.fused) == 1 else f"{what}/{name}"] = value
        return params


def _vectors(part: LocalMethod | Embedded, sides: Sides) -> ray.ObjectRef:
    assert isinstance(part, Embedded)
    both = (unit(part.vectors_nd[side]) for side in (sides.queries, sides.references))
    return ray.put(Vectors(*both))

"""Say who is in photos: candidates with probabilities, an honest "unknown", groups of unknown animals.

In: an `IdentifyRun`. Out: `Identified`, to be written as tables and a page. What a score is worth is
learnt by looking up references among each other; the query photos have no part in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray

from reid_ray.config.identify import IdentifyRun
from reid_ray.config.matching import Matching
from reid_ray.config.named import results_folder
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.schema import UNKNOWN
from reid_ray.datasets.store import PreparedStore
from reid_ray.errors import DatasetError
from reid_ray.evaluation import confidence, grouping
from reid_ray.evaluation.confidence import Candidates, best_per_identity
from reid_ray.on_ray.data import prepare_images
from reid_ray.on_ray.looking import (
    LocalLooker,
    Looker,
    Positions,
    choose_setting,
    embedding_looker,
    take_features,
    tuning_lookups,
)
from reid_ray.on_ray.matching_actors import Pool
from reid_ray.on_ray.nodes import check_storage
from reid_ray.on_ray.progress import Display
from reid_ray.on_ray.session import Cluster, cluster
from reid_ray.on_ray.trial import Materials
from reid_ray.reporting.answers import Answer, Answers, Candidate
from reid_ray.runs import files
from reid_ray.runs.study import StudyFolder

FEW_FRESH = 30
"""Fewer reference photos that a model was not trained on are too few to learn from."""
MOST_GROUPED = 4000
"""Unknown photos that are grouped; each is compared with each."""
POOR_ARI = 0.4
QUERIES_AT_ONCE = 5000
_PAIR_SAMPLE = 200


@dataclass
class Identified:
    """Who is in the query photos.

    Attributes:
        rows: the table of all photos; `images` belong to it.
        queries: positions of the query photos.
        names: the known animals, by position.
        candidates: of each query.
        photo_qc: position in `rows` of each candidate's most alike photo; -1 where there is none.
        groups: a number per query of an unknown animal, -1 for others; None: not asked for.
        learnt: look-ups, reliability and so on, for the reader.
        notes: sentences for the reader.
    """

    images: PreparedImages
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    queries: Positions
    names: list[str]
    candidates: Candidates
    photo_qc: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    learnt: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def answers(self, name: str) -> Answers:
        """The same for people and other programs: names in place of positions."""
        told = tuple(self._answer(q, int(row)) for q, row in enumerate(self.queries))
        return Answers(name, self.rows, self.quarantine, told, self.learnt, tuple(self.notes))

    def _answer(self, q: int, row: int) -> Answer:
        best, unknown = int(self.candidates.answer_q[q]), float(self.candidates.unknown_q[q])
        candidates = tuple(
            Candidate(self.names[i], float(p), int(photo) if photo >= 0 else None)
            for i, p, photo in zip(
                self.candidates.identity_qc[q], self.candidates.probability_qc[q], self.photo_qc[q],
                strict=True,
            )
            if i >= 0
        )  # fmt: skip
        truth = str(self.rows["identity"].iloc[row])
        return Answer(
            row=row,
            identity=self.names[best] if best >= 0 else None,
            probability=candidates[0].probability if best >= 0 else unknown,
            unknown=unknown,
            candidates=candidates,
            group=None if self.groups is None or self.groups[q] < 0 else int(self.groups[q]),
            truth=truth if truth in set(self.names) else None,
        )


@dataclass
class _Table:
    """Photos by their part."""

    images: PreparedImages
    rows: pd.DataFrame
    references: Positions
    queries: Positions
    names: list[str]
    identity_g: NDArray[np.int64]
    encounter_n: NDArray[np.int64]
    content_n: NDArray[np.int64]


def identify(run: IdentifyRun, *, display: Display) -> Identified:
    """Name the animals of the query photos.

    Raises:
        DatasetError: no known animal, no query, or too few references to learn from.
    """
    storage = results_folder(run.storage)
    with cluster() as resources:
        display.say(f"Ray on {resources}")
        if not resources.embedded:
            check_storage(storage)
        loaded = load_rows(run.data(), made=storage / "herd")
        store = PreparedStore(storage / "prepared", run.images)
        with display.phase("photos", len(loaded.rows), "prepared") as phase:
            images, rows, bad, _ = prepare_images(loaded.rows, store, progress=phase.at)
        table = _table(run, images, rows)
        shared = ray.put(Materials(images, rows))
        with Pool(resources.cpus) as pool:
            lookers = _lookers(run, table, shared, pool, resources, storage, display)
            found = _answer(run, table, lookers, display)
    found.quarantine = pd.concat([loaded.quarantine, bad], ignore_index=True)
    found.learnt["looked_by"] = [looker.name for looker in lookers]
    return found


def _table(run: IdentifyRun, images: PreparedImages, rows: pd.DataFrame) -> _Table:
    names_of = [dataset.name for dataset in run.references]
    known = rows["dataset"].isin(names_of) & rows["identity"].ne(UNKNOWN)
    references = np.flatnonzero(known).astype(np.int64)
    queries = np.flatnonzero(rows["dataset"].eq(run.query.name)).astype(np.int64)
    if not len(references) or not len(queries):
        raise DatasetError(
            f"{len(references)} photos of known animals in {run.reference.root}, {len(queries)} photos to "
            f"name in {run.query.root}; both must have some"
        )
    codes, names = pd.factorize(rows["identity"].iloc[references], sort=True)
    if len(names) < 2:
        raise DatasetError(
            f"{run.reference.root}: only {names[0]!r} is known there; expected a folder per animal, or a "
            "table with a column `identity`"
        )
    return _Table(
        images, rows, references, queries, [str(name) for name in names], codes.astype(np.int64),
        _numbers(rows, "encounter"), _numbers(rows, "content"),
    )  # fmt: skip


def _numbers(rows: pd.DataFrame, column: str) -> NDArray[np.int64]:
    """Equal numbers for equal filled cells, -1 where there is none."""
    if column not in rows:
        return np.full(len(rows), -1, np.int64)
    return pd.factorize(rows[column].where(rows[column].ne("")))[0].astype(np.int64)


def _lookers(
    run: IdentifyRun, table: _Table, shared: ray.ObjectRef, pool: Pool, resources: Cluster,
    storage: Path, display: Display,
) -> list[Looker]:  # fmt: skip
    lookers: list[Looker] = []
    if run.model is not None:
        with display.phase(f"{run.model.name} vectors", len(table.rows), "photos") as phase:
            lookers.append(
                embedding_looker(
                    run.model, table.images, shared, short_px=run.images.short_px,
                    store=storage / "vectors", resources=resources, progress=phase.at,
                )
            )  # fmt: skip
    if (matching := run.matching()) is not None:
        lookers.append(_local_looker(matching, table, shared, pool, storage, display))
    return lookers


def _local_looker(
    config: Matching, table: _Table, shared: ray.ObjectRef, pool: Pool, storage: Path,
    display: Display,
) -> LocalLooker:  # fmt: skip
    with display.phase(f"{config.name} features", len(table.rows), "photos") as phase:
        features = take_features(
            config, shared, len(table.rows),
            pool=pool, store=storage / "features", progress=phase.at,
        )  # fmt: skip
    known = table.references
    lookups = len(tuning_lookups(config, len(known)))
    with display.phase(f"{config.name} settings tried on", lookups, "references") as phase:
        setting = choose_setting(
            config, features.take(known), table.identity_g, table.encounter_n[known],
            pool=pool, progress=phase.at,
        )  # fmt: skip
    return LocalLooker(config, pool, features, setting)


def _answer(
    run: IdentifyRun, table: _Table, lookers: Sequence[Looker], display: Display
) -> Identified:
    notes: list[str] = []
    lookups = _lookups(run, table, notes)
    own_q = table.identity_g[lookups]
    with display.phase("references looked up", len(lookups) * len(lookers), "photos") as phase:
        out = _left_out(table, table.references[lookups])
        learning, _ = _per_animal(table, lookers, table.references[lookups], out, phase.at)
    able = _has_others(learning, own_q)
    learning, own_q = learning[:, able], own_q[able]
    model = confidence.fit(learning, own_q, unknown_share=run.unknown_share, most=run.candidates)
    known, unknown = confidence.cross_fitted(
        learning, own_q, unknown_share=run.unknown_share, most=run.candidates, seed=run.seed
    )
    candidates, photo_qc = _candidates(run, table, lookers, model, display)
    found = Identified(
        table.images, table.rows, pd.DataFrame(), table.queries, table.names, candidates,
        photo_qc, notes=notes,
    )  # fmt: skip
    found.learnt = {
        "lookups": len(own_q),
        "found_again": float(confidence.answers_right(known, own_q).mean()),
        "unknown_noticed": float((unknown.answer_q == -1).mean()),
        "reliability": confidence.reliability(
            known, unknown, own_q, unknown_share=run.unknown_share
        ),
        "skill": confidence.skill(known, unknown, own_q, unknown_share=run.unknown_share),
        "unknown_share": run.unknown_share,
        "confidence": vars(model),
    }
    if (candidates.answer_q == -1).all():
        first = (known.identity_qc[:, 0] == own_q).mean()
        notes.append(
            "no photo could be given a name: of known animals looked up among the others the first "
            f"candidate is right in {100 * first:.0f} %, too seldom to name anyone; look at the candidates, "
            "add reference photos, or try another method"
        )
    if run.cluster_unknown:
        _group(run, table, lookers, found, display)
    return found


def _candidates(
    run: IdentifyRun, table: _Table, lookers: Sequence[Looker], model: confidence.Confidence,
    display: Display,
) -> tuple[Candidates, NDArray[np.int64]]:  # fmt: skip
    """Of all queries, some thousands at a time: scores of every animal are held for no more."""
    parts = []
    with display.phase("queries looked up", len(table.queries) * len(lookers), "photos") as phase:
        for at in range(0, len(table.queries), QUERIES_AT_ONCE):
            looking = table.queries[at : at + QUERIES_AT_ONCE]
            before = at * len(lookers)
            scores, photos = _per_animal(
                table, lookers, looking, None, lambda done, before=before: phase.at(before + done)
            )
            part = model.candidates(scores, most=run.candidates)
            parts.append((part, _photo_of(table, part, photos)))
    joined = [np.concatenate([getattr(part, name) for part, _ in parts]) for name in
              ("identity_qc", "probability_qc", "unknown_q")]  # fmt: skip
    return Candidates(*joined), np.concatenate([photo for _, photo in parts])


def _lookups(run: IdentifyRun, table: _Table, notes: list[str]) -> NDArray[np.int64]:
    """References to look up, by their place among the references.

    A trained model knows its own training photos too well, so others are preferred.
    """
    fresh = np.arange(len(table.references))
    trained_on = _trained_on(run)
    if trained_on:
        seen = table.rows["content"].iloc[table.references].isin(trained_on).to_numpy()
        if (~seen).sum() >= FEW_FRESH:
            fresh = np.flatnonzero(~seen)
        else:
            notes.append(
                f"the model was trained on {int(seen.sum())} of {len(seen)} reference photos, and the "
                "others are too few to learn from: probabilities are too high"
            )
    if len(fresh) <= run.lookups:
        return fresh
    return np.sort(np.random.default_rng(run.seed).choice(fresh, run.lookups, replace=False))


def _trained_on(run: IdentifyRun) -> set[str]:
    """Contents of the photos that a study's winner was trained on; empty for other models."""
    if run.model is None:
        return set()
    study = StudyFolder(Path(run.model.weights).expanduser().parent)
    if not files.exists(study.rows_path):
        return set()
    rows = files.read_table(study.rows_path)
    trained = rows["split"].eq("reference") & ~rows["validation"] & rows["domain"].eq("seen")
    return set(rows.loc[trained, "content"])


def _left_out(table: _Table, looking: Positions) -> NDArray[np.bool_]:
    """References that must not answer a reference: itself, its copies, photos of its encounter."""
    out = looking[:, None] == table.references[None]
    for numbers in (table.content_n, table.encounter_n):
        mine = numbers[looking][:, None]
        out |= (mine == numbers[table.references][None]) & (mine >= 0)
    return np.asarray(out)


def _per_animal(
    table: _Table, lookers: Sequence[Looker], looking: Positions,
    out_qg: NDArray[np.bool_] | None, progress: Any,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:  # fmt: skip
    """Scores [m, q, i] of each animal, and the place of its best photo among the references."""
    shape = (len(lookers), len(looking), len(table.names))
    scores, photos = np.empty(shape, np.float32), np.empty(shape, np.int64)
    done = 0
    for m, looker in enumerate(lookers):
        for rows, block in looker.scores(looking, table.references, out_qg):
            scores[m, rows], photos[m, rows] = best_per_identity(
                block, table.identity_g, len(table.names)
            )
            done += len(block)
            progress(done)
    return scores, photos


def _has_others(scores_mqi: NDArray[np.float32], own_q: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a look-up's animal has a photo left that could answer."""
    return np.asarray(np.isfinite(scores_mqi[0, np.arange(len(own_q)), own_q]))


def _photo_of(
    table: _Table, candidates: Candidates, photos_mqi: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Each candidate's most alike photo, by the method that looks last: local features are shown."""
    identity = np.maximum(candidates.identity_qc, 0)
    place = np.take_along_axis(photos_mqi[-1], identity, axis=1)
    there = (candidates.identity_qc >= 0) & (place >= 0)
    return np.where(there, table.references[np.maximum(place, 0)], -1)


def _group(
    run: IdentifyRun, table: _Table, lookers: Sequence[Looker], found: Identified, display: Display
) -> None:
    unknown = np.flatnonzero(found.candidates.answer_q == -1)
    if len(unknown) > MOST_GROUPED:
        found.notes.append(
            f"{len(unknown)} photos of unknown animals are too many to group, at most {MOST_GROUPED}"
        )
        return
    sampled = _pair_sample(table, run.seed)
    display.say(f"grouping {len(unknown)} photos of unknown animals")
    theirs = table.encounter_n[found.queries[unknown]]
    told = bool((theirs >= 0).any())  # else it is learnt without, as it will be used
    learnt = grouping.learn(
        _pairs(lookers, table.references[sampled]), table.identity_g[sampled],
        table.encounter_n[table.references[sampled]] if told else None, seed=run.seed,
    )  # fmt: skip
    found.groups = np.full(len(found.queries), -1, np.int64)
    if len(unknown):
        found.groups[unknown] = learnt.groups(_pairs(lookers, found.queries[unknown]), theirs)
    if learnt.ari < POOR_ARI:
        found.notes.append(
            "photos of unknown animals are hard to group here: known animals, grouped in the same way, "
            f"agree with the truth to {learnt.ari:.2f} (1 is perfect, 0 is chance), so take the groups as "
            "hints"
            + ("" if told else "; which photos were taken together (encounter) would help most")
        )
    found.learnt["grouping"] = {
        "ari": None if np.isnan(learnt.ari) else learnt.ari,
        "ari_encounters": learnt.ari_encounters, "cut": learnt.cut, "photos": len(sampled),
    }  # fmt: skip


def _pair_sample(table: _Table, seed: int) -> NDArray[np.int64]:
    """Reference photos of whole animals, at most `_PAIR_SAMPLE` and one animal more."""
    animals = np.random.default_rng(seed).permutation(len(table.names))
    sizes = np.bincount(table.identity_g, minlength=len(table.names))[animals]
    taken = animals[: int(np.searchsorted(np.cumsum(sizes), _PAIR_SAMPLE)) + 1]
    return np.flatnonzero(np.isin(table.identity_g, taken))


def _pairs(lookers: Sequence[Looker], photos: Positions) -> NDArray[np.float32]:
    """How alike each photo is to each other, [m, n, n]."""
    scores = np.zeros((len(lookers), len(photos), len(photos)), np.float32)
    nothing = np.eye(len(photos), dtype=bool)
    for m, looker in enumerate(lookers):
        for rows, block in looker.scores(photos, photos, nothing):
            scores[m, rows] = np.where(np.isfinite(block), block, 0)
    return scores

"""Say who is in photos: candidates with probabilities, an honest "unknown", groups of unknown animals.

In: an `IdentifyRun`. Out: `Identified`, to be written as tables and a page. What a score is worth is
learnt by looking up references among each other; the query photos have no part in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
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
from reid_ray.datasets.store import PreparedStore
from reid_ray.methods import probability as confidence
from reid_ray.methods.probability import Candidates
from reid_ray.on_ray.actors.pool import Pool
from reid_ray.on_ray.album import LOOKS, Album
from reid_ray.on_ray.cluster.nodes import check_storage
from reid_ray.on_ray.cluster.session import Cluster, cluster
from reid_ray.on_ray.looking import (
    LocalLooker,
    Looker,
    Positions,
    choose_setting,
    embedding_looker,
    take_features,
    tuning_lookups,
)
from reid_ray.on_ray.photos import prepare_images
from reid_ray.on_ray.strangers import group_strangers
from reid_ray.progress import Display
from reid_ray.reporting.answers import Answer, Answers, Candidate
from reid_ray.runs import files
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.trial import Materials

FEW_FRESH = 30
"""Fewer reference photos that a model was not trained on are too few to learn from."""
QUERIES_AT_ONCE = 5000


@dataclass
class Identified:
    """Who is in the query photos.

    Attributes:
        rows: the table of all photos; `images` belong to it.
        queries: positions of the query photos.
        names: the known animals, by position.
        sighting_q: equal for queries that were answered together.
        candidates: of each query.
        photo_qc: position in `rows` of each candidate's most alike photo; -1 where there is none.
        beside_qc: position of the query photo that it is like, one of the same sighting; or -1.
        groups: a number per query of an unknown animal, -1 for others; None: not asked for.
        learnt: look-ups, reliability and so on, for the reader.
        notes: sentences for the reader.
    """

    images: PreparedImages
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    queries: Positions
    names: list[str]
    sighting_q: NDArray[np.int64]
    candidates: Candidates
    photo_qc: NDArray[np.int64]
    beside_qc: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    learnt: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def answers(self, name: str) -> Answers:
        """The same for people and other programs: names in place of positions."""
        known = set(self.names)
        sightings, sizes = np.unique(self.sighting_q, return_counts=True)
        number = {int(one): place for place, one in enumerate(sightings[sizes > 1])}
        told = tuple(
            self._answer(q, int(row), known, number.get(int(self.sighting_q[q])))
            for q, row in enumerate(self.queries)
        )
        return Answers(name, self.rows, self.quarantine, told, self.learnt, tuple(self.notes))

    def _answer(self, q: int, row: int, known: set[str], together: int | None) -> Answer:
        best, unknown = int(self.candidates.answer_q[q]), float(self.candidates.unknown_q[q])
        candidates = tuple(
            Candidate(
                self.names[i],
                float(p),
                int(photo) if photo >= 0 else None,
                int(beside) if beside >= 0 else None,
            )
            for i, p, photo, beside in zip(
                self.candidates.identity_qc[q],
                self.candidates.probability_qc[q],
                self.photo_qc[q],
                self.beside_qc[q],
                strict=True,
            )
            if i >= 0
        )
        truth = str(self.rows["identity"].iloc[row])
        return Answer(
            row=row,
            identity=self.names[best] if best >= 0 else None,
            probability=candidates[0].probability if best >= 0 else unknown,
            unknown=unknown,
            candidates=candidates,
            group=None if self.groups is None or self.groups[q] < 0 else int(self.groups[q]),
            truth=truth if truth in known else None,
            together=together,
        )


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
        album = Album.of(run, images, rows)
        shared = ray.put(Materials(images, rows))
        with Pool(resources.cpus) as pool:
            lookers = _lookers(run, album, shared, pool, resources, storage, display)
            found = _answer(run, album, lookers, display)
    found.quarantine = pd.concat([loaded.quarantine, bad], ignore_index=True)
    found.learnt["looked_by"] = [looker.name for looker in lookers]
    return found


def _lookers(
    run: IdentifyRun,
    album: Album,
    shared: ray.ObjectRef,
    pool: Pool,
    resources: Cluster,
    storage: Path,
    display: Display,
) -> list[Looker]:
    lookers: list[Looker] = []
    if run.model is not None:
        with display.phase(f"{run.model.name} vectors", len(album.rows), "photos") as phase:
            lookers.append(
                embedding_looker(
                    run.model,
                    album.images,
                    shared,
                    short_px=run.images.short_px,
                    store=storage / "vectors",
                    resources=resources,
                    progress=phase.at,
                )
            )
    if (matching := run.matching()) is not None:
        lookers.append(_local_looker(matching, album, shared, pool, storage, display))
    return lookers


def _local_looker(
    config: Matching, album: Album, shared: ray.ObjectRef, pool: Pool, storage: Path, display: Display
) -> LocalLooker:
    with display.phase(f"{config.name} features", len(album.rows), "photos") as phase:
        features = take_features(
            config, shared, len(album.rows), pool=pool, store=storage / "features", progress=phase.at
        )
    known = album.references
    lookups = len(tuning_lookups(config, len(known)))
    with display.phase(f"{config.name} settings tried on", lookups, "references") as phase:
        setting = choose_setting(
            config,
            features.take(known),
            album.identity_g,
            album.encounter_n[known],
            pool=pool,
            progress=phase.at,
        )
    return LocalLooker(config, pool, features, setting)


def _answer(run: IdentifyRun, album: Album, lookers: Sequence[Looker], display: Display) -> Identified:
    notes: list[str] = []
    lookups = _lookups(run, album, notes)
    with display.phase("references looked up", len(lookups) * len(lookers), "photos") as phase:
        looking = album.references[lookups]
        scores, _ = album.scores(lookers, looking, album.left_out(looking), phase.at)
    able = _has_others(scores, album.identity_g[lookups])
    sightings, first, of = np.unique(album.sighting_n[looking[able]], return_index=True, return_inverse=True)
    learning = confidence.together(scores[:, able], of)
    own_s = album.identity_g[lookups][able][first]
    model = confidence.fit(learning, own_s, unknown_share=run.unknown_share, most=run.candidates)
    known, unknown = confidence.cross_fitted(
        learning, own_s, unknown_share=run.unknown_share, most=run.candidates, seed=run.seed
    )
    candidates, pairs = _candidates(run, album, lookers, model, display)
    found = Identified(
        album.images,
        album.rows,
        pd.DataFrame(),
        album.queries,
        album.names,
        album.sighting_n[album.queries],
        candidates,
        *pairs,
        notes=notes,
    )
    found.learnt = {
        "lookups": len(sightings),
        "photos_looked_up": int(able.sum()),
        "found_again": float(confidence.answers_right(known, own_s).mean()),
        "unknown_noticed": float((unknown.answer_q == -1).mean()),
        "reliability": confidence.reliability(known, unknown, own_s, unknown_share=run.unknown_share),
        "skill": confidence.skill(known, unknown, own_s, unknown_share=run.unknown_share),
        "unknown_share": run.unknown_share,
        "confidence": vars(model),
    }
    if (candidates.answer_q == -1).all():
        right = (known.identity_qc[:, 0] == own_s).mean()
        notes.append(
            "no photo could be given a name: of known animals looked up among the others the first "
            f"candidate is right in {100 * right:.0f} %, too seldom to name anyone; look at the candidates, "
            "add reference photos, or try another method"
        )
    if told := album.bursts_not_told():
        notes.append(told)
    if run.cluster_unknown:
        strangers = np.flatnonzero(candidates.answer_q == -1)
        display.say(f"grouping {len(strangers)} photos of unknown animals")
        found.groups, grouped, hints = group_strangers(album, lookers, strangers, seed=run.seed)
        notes += hints
        if grouped:
            found.learnt["grouping"] = grouped
    return found


def _candidates(
    run: IdentifyRun, album: Album, lookers: Sequence[Looker], model: confidence.Confidence, display: Display
) -> tuple[Candidates, tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Of all queries, some thousands at a time: scores of every animal are held for no more.

    Returns:
        With the candidates, of each the most alike photo and the query's photo that is like it.
    """
    _, of_q = np.unique(album.sighting_n[album.queries], return_inverse=True)
    block_s = np.cumsum(np.bincount(of_q)) // QUERIES_AT_ONCE
    shape = (len(of_q), run.candidates)
    found = Candidates(np.full(shape, -1, np.int64), np.zeros(shape), np.ones(len(of_q)))
    photo_qc, beside_qc = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    done = 0
    with display.phase("queries looked up", len(of_q) * len(lookers), "photos") as phase:
        for block in np.unique(block_s):
            mine = np.flatnonzero(block_s[of_q] == block)
            looking = album.queries[mine]
            scores, photos = album.scores(lookers, looking, None, partial(_later, phase.at, done))
            done += len(mine) * len(lookers)
            _, of = np.unique(of_q[mine], return_inverse=True)
            part = model.candidates(confidence.together(scores, of), most=run.candidates)
            found.identity_qc[mine] = part.identity_qc[of]
            found.probability_qc[mine] = part.probability_qc[of]
            found.unknown_q[mine] = part.unknown_q[of]
            place, asking = _most_alike(part, scores[-LOOKS], photos, of)
            photo_qc[mine] = np.where(place >= 0, album.references[place], -1)[of]
            beside_qc[mine] = np.where(asking >= 0, looking[asking], -1)[of]
    return found, (photo_qc, beside_qc)


def _later(at: Callable[[int], None], before: int, done: int) -> None:
    at(before + done)


def _most_alike(
    candidates: Candidates,
    best_qi: NDArray[np.float32],
    photos_qi: NDArray[np.int64],
    of_q: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each sighting's candidates the most alike photo, and which of its own is like it.

    Args:
        best_qi: scores of the method that looks last: local features are shown.
        photos_qi: each animal's best photo, by its place among the references.
        of_q: the sighting of each photo, 0 .. s - 1.

    Returns:
        Places among the references, and among the photos, int64 [s, c]; -1 where there is none.
    """
    place = np.full(candidates.identity_qc.shape, -1, np.int64)
    asking = place.copy()
    for s, identities in enumerate(candidates.identity_qc):
        mine = np.flatnonzero(of_q == s)
        there = identities >= 0
        best = mine[np.argmax(best_qi[np.ix_(mine, identities[there])], axis=0)]
        place[s, there] = photos_qi[best, identities[there]]
        asking[s, there] = best
    return place, asking


def _lookups(run: IdentifyRun, album: Album, notes: list[str]) -> NDArray[np.int64]:
    """References to look up, by their place among the references, sightings whole.

    A trained model knows its own training photos too well, so others are preferred.
    """
    fresh = np.arange(len(album.references))
    trained_on = _trained_on(run)
    if trained_on:
        seen = album.rows["content"].iloc[album.references].isin(trained_on).to_numpy()
        if (~seen).sum() >= FEW_FRESH:
            fresh = np.flatnonzero(~seen)
        else:
            notes.append(
                f"the model was trained on {int(seen.sum())} of {len(seen)} reference photos, and the "
                "others are too few to learn from: probabilities are too high"
            )
    sighting = album.sighting_n[album.references[fresh]]
    sightings, sizes = np.unique(sighting, return_counts=True)
    drawn = np.random.default_rng(run.seed).permutation(len(sightings))
    fitting = int(np.searchsorted(np.cumsum(sizes[drawn]), run.lookups, side="right"))
    return fresh[np.isin(sighting, sightings[drawn[: max(1, fitting)]])]


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


def _has_others(scores_mqi: NDArray[np.float32], own_q: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a look-up's animal has a photo left that could answer."""
    return np.asarray(np.isfinite(scores_mqi[0, np.arange(len(own_q)), own_q]))

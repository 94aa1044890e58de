"""Say who is in photos: candidates with probabilities, an honest "unknown", groups of unknown animals.

In: an `IdentifyRun`. Out: `Identified`, to be written as tables and a page. What a score is worth is
learnt on references alone; the query photos have no part in it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import ray

from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.fusion import VLAD, Fusion
from reid_ray.config.identify import LOCAL, IdentifyRun
from reid_ray.config.named import results_folder
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.encounters import encounter_groups
from reid_ray.datasets.prepared import Materials
from reid_ray.datasets.schema import BBOX, UNKNOWN
from reid_ray.datasets.store import PreparedStore
from reid_ray.errors import DatasetError, StorageError, WeightsError
from reid_ray.methods import places
from reid_ray.methods.embedding import ANY, Embedding
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.grouping import group_unknown
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.naming import animal_names, name_queries
from reid_ray.methods.probability import Candidates
from reid_ray.methods.ready import Learnt, Method, Ready
from reid_ray.methods.saved import SavedMethod, describe, load
from reid_ray.methods.shortlist import Shortlisted
from reid_ray.methods.worth import Asked, Worth, learn_worth
from reid_ray.on_ray.cluster.nodes import check_storage
from reid_ray.on_ray.cluster.session import Cluster, cluster
from reid_ray.on_ray.identified import Identified
from reid_ray.on_ray.photos import prepare_images
from reid_ray.on_ray.retrieval.bench import RayBench
from reid_ray.progress import Display
from reid_ray.reporting.answers import Copy
from reid_ray.runs import files, seals
from reid_ray.runs.methods import method_key
from reid_ray.runs.study import StudyFolder
from reid_ray.splits.checkup import ALL_BUT_THE_LAST_PART, named_together
from reid_ray.splits.leaks import same_file_pairs
from reid_ray.splits.learnable import trained_on

QUERIES_HERE, PAIRS_HERE = 16, 20_000
"""So few are named before a worker would have started, where the gallery was asked before."""

_EVERY_RULE = CandidateSets(viewpoint="only", location="only", period="only")


def identify(run: IdentifyRun, *, display: Display) -> Identified:
    """Name the animals of the query photos.

    Raises:
        DatasetError: no known animal, or no query. StorageError: a saved method is damaged.
    """
    storage = results_folder(run.storage)
    saved = load(Path(run.method)) if run.method else None
    method = saved.method if saved else method_of(run)
    method.check()
    with cluster() as resources:
        display.say(f"Ray on {resources}")
        if not resources.embedded:
            check_storage(storage)
        loaded = load_rows(run.data(), made=storage / "synthetic")
        store = PreparedStore(storage / "prepared", run.images)
        with display.phase("photos", len(loaded.rows), "prepared") as phase:
            images, rows, bad, _ = prepare_images(loaded.rows, store, progress=phase.at)
        shared = Materials(images, rows)
        with _bench(shared, storage, resources) as bench:
            found = _Run(run, method, saved, bench, display, storage, bad).answers()
    found.quarantine = pd.concat([loaded.quarantine, bad], ignore_index=True)
    return found


def method_of(run: IdentifyRun) -> Method:
    """The network, the local features, or all of them as a fusion.

    Raises:
        WeightsError: weights are missing; ConfigError: no such model.
    """
    network = None
    if run.model is not None:
        # Libraries of networks take seconds to load.
        from reid_ray.embedding.availability import find
        from reid_ray.studies.planning import encoding_of

        there = find(run.model)
        if there.missing:
            raise WeightsError(f"{run.model.name}: {there.sentence}")
        encoding = encoding_of(run.model, there, short_px=run.images.short_px)
        key = method_key("pretrained", run.model.settings, there.version)
        network = Embedding(
            run.model.name, key, {ANY: encoding}, bool(_trained_on(run)), run.model.alone, run.model.rerank
        )
    features = [LocalFeatures(one) for one in run.matchings()]
    if features and (shortlist := features[0].config.shortlist) is not None:
        by = LOCAL.get(shortlist.by)
        near = LocalFeatures(by) if by else network
        return Shortlisted(features[0], None if shortlist.by == VLAD else near)
    parts = ([network] if network else []) + features
    if len(parts) == 1:
        return parts[0]
    names = tuple(one.name for one in parts)
    # References prefer it to the mean (reports/identify.md, reports/fusion.md).
    return Fusing(Fusion(name="joined", parts=names, combine="log_odds"), tuple(parts))


def _bench(materials: Materials, storage: Path, resources: Cluster) -> RayBench:
    return RayBench(
        materials,
        ray.put(materials),
        features_store=storage / "features",
        vectors_store=storage / "vectors",
        matching=resources.cpus,
        embedding=resources.gpus or resources.cpus,
        gpus=1.0 if resources.gpus else 0.0,
    )


@dataclass
class _Run:
    """One run under way."""

    run: IdentifyRun
    method: Method
    saved: SavedMethod | None
    bench: RayBench
    display: Display
    storage: Path
    bad: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)

    @property
    def rows(self) -> pd.DataFrame:
        return self.bench.materials.rows

    def answers(self) -> Identified:
        gallery = self._gallery()
        if not len(gallery.queries):
            return self._nothing_to_name(gallery)
        together = _together(self.run, self.rows, gallery)
        with self.display.phase(self.method.name, len(gallery.photos), "photos") as phase:
            self.bench.told = lambda text: phase.at(0, text)
            ready, worth = self._ready(gallery, together[: gallery.references])
        found = self._named(ready, worth, together[gallery.references :])
        found.learnt = {**worth.facts, "looked_by": [self.method.name], "method": describe(self.method)}
        found.places = places.weights_of(ready.learnt)
        self.notes += places.told(ready.learnt, [one.method.name for one in ready.parts])
        self.notes += [told for told in [ready.gallery.told()] if told]
        if worth.note:
            self.notes.append(worth.note)
        if worth.model is not None and (found.candidates.answer_q == -1).all():
            self.notes.append(
                "no photo could be given a name: of known animals asked among the others the first candidate "
                f"is right in {100 * worth.facts['first_right']:.0f} %, too seldom to name anyone; look at "
                "the candidates, add reference photos, or try another method"
            )
        if told := _untold_encounters(self.rows, gallery):
            self.notes.append(told)
        if self.run.cluster_unknown:
            self._group(found, ready, worth)
        found.notes, found.copies = self.notes, self.copies
        return found

    def _nothing_to_name(self, gallery: Gallery) -> Identified:
        """Every photo to name is among the references."""
        none = np.zeros((0, self.run.candidates))
        empty = none.astype(np.int64)
        found = self._identified(gallery, empty[:, 0], Candidates(empty, none, none[:, 0]), empty, empty)
        found.notes, found.copies = self.notes, self.copies
        return found

    def _identified(
        self,
        gallery: Gallery,
        together_q: Positions,
        candidates: Candidates,
        photo_qc: Positions,
        beside_qc: Positions,
    ) -> Identified:
        """What was found of each query, with the photos and names that it is about."""
        return Identified(
            self.bench.materials.images,
            self.rows,
            pd.DataFrame(),
            gallery,
            animal_names(gallery, self.rows),
            self.method,
            together_q,
            candidates,
            photo_qc,
            beside_qc,
        )

    def _without_copies(self, queries: Positions, references: Positions) -> Positions:
        """Queries that are not, byte for byte, a reference photo; with boxes, of the same box too."""
        content = self.rows["content"].to_numpy(object)
        if self.run.images.crop != "full" and BBOX in self.rows:
            boxes = self.rows[BBOX].astype(str).to_numpy(object)
            content = np.where(content == "", "", content + " " + boxes)
        self.copies = [Copy(*pair) for pair in same_file_pairs(content, queries, references)]
        if self.copies:
            first, path = self.copies[0], self.rows["path"]
            self.notes.append(
                f"{len(self.copies)} of {len(queries)} photos to name are reference photos, byte for byte; "
                f"they are left out: {path.iloc[first.row]} is the same file as {path.iloc[first.reference]}"
            )
        return np.setdiff1d(queries, [copy.row for copy in self.copies]).astype(np.int64)

    def _gallery(self) -> Gallery:
        rows, run = self.rows, self.run
        known = rows["dataset"].isin([one.name for one in run.references]) & rows["identity"].ne(UNKNOWN)
        references = np.flatnonzero(known).astype(np.int64)
        queries = np.flatnonzero(rows["dataset"].eq(run.query.name)).astype(np.int64)
        unread = self.bad[self.bad["dataset"].eq(run.query.name)]
        if len(unread) and not len(queries):
            raise DatasetError(
                f"no photo to name could be read: {unread['path'].iloc[0]}: {unread['reason'].iloc[0]}"
            )
        if not len(references) or not len(queries):
            raise DatasetError(
                f"{len(references)} photos of known animals in {run.reference.root}, "
                f"{len(queries)} photos to name in {run.query.root}; both must have some"
            )
        if len(names := pd.unique(rows["identity"].iloc[references])) < 2:
            raise DatasetError(
                f"{run.reference.root}: only {names[0]!r} is known there; expected a folder per "
                "animal, or a table with a column `identity`"
            )
        queries = self._without_copies(queries, references)
        saved = self.saved or SavedMethod(self.method, run.images, trained_on=_trained_on(run))
        return saved.gallery(rows, references, queries, collection=run.collection or run.reference.name)

    def _ready(self, gallery: Gallery, together: Positions) -> tuple[Ready, Worth]:
        """The method on these references; what was learnt on them before is not learnt again."""
        own = dict(self.saved.learnt) if self.saved else {}
        studied = own.get(gallery.fingerprint)
        several = len(np.unique(together)) < len(together)
        # A study measured answers by the best photo of each animal, so its own photos are answered so.
        as_studied = studied is not None and self._as_studied(several)
        how = Asked(
            looks=1 if as_studied else 2,
            queries=self.run.leave_one_out_queries,
            unknown_share=self.run.unknown_share,
            candidates=self.run.candidates,
            seed=self.run.seed,
        )
        kept = self.storage / "learnt" / f"{self._key(gallery, how, together)}.json"
        before = _read(kept)
        learnt: Learnt | None = before or studied
        had = {} if learnt is None else {gallery.fingerprint: learnt}
        few = len(gallery.queries) <= QUERIES_HERE and len(gallery.queries) * gallery.references <= PAIRS_HERE
        self.bench.here = few and before is not None  # its features are kept, too
        prepared = self.method.prepare([gallery], self.bench, learnt=had)
        if not prepared:
            known = sorted(self.saved.collections.values()) if self.saved else []
            raise DatasetError(
                f"{self.method.name} was trained on each of {known} by itself, and these references are none "
                "of them; say which network is meant by --set collection=NAME"
            )
        ready = prepared[0]
        usable = learnt is not None and (learnt is not studied or as_studied)
        worth = (
            Worth.of(learnt)
            if usable and learnt is not None
            else learn_worth(ready, self.bench, how, together=together if several else None)
        )
        if before is None:
            files.write_json(kept, seals.sealed({**ready.learnt, **worth.as_json()}))
        return ready, worth

    def _as_studied(self, several: bool) -> bool:
        """Whether a study's probabilities are of the questions that are asked here."""
        asked, default = (self.run.unknown_share, self.run.candidates), Asked()
        return not several and asked == (default.unknown_share, default.candidates)

    def _key(self, gallery: Gallery, how: Asked, together: Positions) -> str:
        config = self.run.model_dump(mode="json", include={"model", "local", "method", "images"})
        about = dict(self.saved.about) if self.saved else {}
        # Of the references alone, so that it is found again whatever photos are to be named.
        shown = gallery.shown.plain(_EVERY_RULE, gallery.references)
        groups = pd.factorize(together)[0].tolist()
        # How several are joined is not in the run's config.
        how_joined = [self.method.config.canonical()] if isinstance(self.method, Fusing) else []
        return method_key("learnt", config, about, vars(how), gallery.fingerprint, groups, shown, *how_joined)

    def _named(self, ready: Ready, worth: Worth, together_q: Positions) -> Identified:
        gallery = ready.gallery
        with self.display.phase("queries", len(gallery.queries), "photos") as phase:
            found = name_queries(
                ready, worth, self.bench, together_q, most=self.run.candidates, progress=phase.at
            )
        return self._identified(gallery, together_q, *found)

    def _group(self, found: Identified, ready: Ready, worth: Worth) -> None:
        unknown = np.flatnonzero(found.candidates.answer_q == -1)
        self.display.say(f"grouping {len(unknown)} photos of unknown animals")
        found.groups, grouped, hints = group_unknown(
            self.method, ready.learnt, ready.gallery, self.rows, unknown, self.bench, seed=self.run.seed
        )
        self.notes += hints
        if grouped:
            found.learnt["grouping"] = grouped


def _together(run: IdentifyRun, rows: pd.DataFrame, gallery: Gallery) -> Positions:
    """Of each photo of the gallery; where queries are not answered together, references are not either."""
    alone = np.arange(len(gallery.photos), dtype=np.int64)
    if not run.per_encounter:
        return alone
    queries = gallery.photos[gallery.references :]
    asked = encounter_groups(rows.iloc[queries], named=False)
    if asked.max() + 1 == len(queries):
        return alone
    numbers = encounter_groups(rows, named=True)
    numbers[queries] = asked + numbers.max() + 1
    return numbers[gallery.photos]


def _untold_encounters(rows: pd.DataFrame, gallery: Gallery) -> str | None:
    """What to say where file names tell what was taken together, and nobody did."""
    references = rows.iloc[gallery.photos[: gallery.references]]
    if (gallery.encounters >= 0).any() or not (shared := named_together(references)):
        return None
    how = f"encounter_from.pattern='{ALL_BUT_THE_LAST_PART}'"
    return (
        f"file names such as {shared[0]} and {shared[1]} seem to belong together: if they do, photos of "
        f'one encounter can be answered together; add --set "query.{how}" --set "reference.{how}"'
    )


def _trained_on(run: IdentifyRun) -> frozenset[str]:
    """Contents of the photos that a study's network was trained on; empty for other models."""
    if run.model is None:
        return frozenset()
    study = StudyFolder(Path(run.model.weights).expanduser().parent)
    if not files.exists(study.rows_path):
        return frozenset()
    rows = files.read_table(study.rows_path)
    return frozenset(rows.loc[trained_on(rows), "content"])


def _read(path: Path) -> Learnt | None:
    """What was kept; None where it is not there or damaged."""
    try:
        return seals.unsealed(files.read_json(path), path)
    except (OSError, ValueError, StorageError):
        return None

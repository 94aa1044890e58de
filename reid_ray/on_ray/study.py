"""Run a whole study: photos, split, every method, MLflow, report. Whatever is done already is kept.

In: a `Study` config. Out: a finished study folder, MLflow runs and a report.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import ray

from reid_ray.config.base import as_written
from reid_ray.config.collections import Present, present
from reid_ray.config.named import results_folder
from reid_ray.config.tune import Search, Study
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.schema import shared_columns
from reid_ray.errors import ReidError, ResourceError, TrialError
from reid_ray.methods.ready import Method
from reid_ray.methods.selection import select, selected_by_queries
from reid_ray.on_ray.background import look_at_backgrounds
from reid_ray.on_ray.cluster.nodes import check_storage
from reid_ray.on_ray.cluster.reserved import reserved
from reid_ray.on_ray.cluster.session import Cluster, cluster
from reid_ray.on_ray.photos import load_photos
from reid_ray.on_ray.retrieval.bench import RayBench
from reid_ray.on_ray.retrieval.encoders import score_encoders, told_of
from reid_ray.on_ray.retrieval.methods import run_method
from reid_ray.on_ray.training.asha import start_halving
from reid_ray.on_ray.training.placement import check_fits, train_distributed
from reid_ray.on_ray.training.tuning import gpus_per_worker, look_for_room, run_trials
from reid_ray.progress import Display
from reid_ray.reporting.closing import summary_text
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs import files, seals
from reid_ray.runs.lock import only_one
from reid_ray.runs.methods import Family, Result
from reid_ray.runs.provenance import provenance
from reid_ray.runs.storage import address
from reid_ray.runs.study import StudyFolder, StudyRecord
from reid_ray.splits.manifest import write_manifest
from reid_ray.studies.chance import score_chance
from reid_ray.studies.export import export_selected, export_winner
from reid_ray.studies.methods_of import DependentPlan, method_of, plan_dependent
from reid_ray.studies.planning import (
    StudyPlan,
    confirmation,
    dataset_inputs,
    left_to_do,
    pair_count,
    pairs_of,
    plan_study,
)
from reid_ray.studies.transfer import adopt, plan_transfer, refuse_empty, search_of
from reid_ray.studies.trial import Materials, Plan
from reid_ray.studies.wanted import look_for_weights


@dataclass(frozen=True)
class Outcome:
    """What a study leaves behind, for the closing words.

    Attributes:
        report: path of index.html.
        compare: path of the MLflow UI's comparison of all trials, or "" if MLflow was not reached.
        model: folder of the selected method; there only if a method finished.
    """

    record: StudyRecord
    report: Path
    tracking_uri: str
    compare: str
    model: Path


@dataclass
class _Run:
    """A study under way."""

    study: Study
    folder: StudyFolder
    display: Display
    tracking: Tracking
    started_at: float = field(default_factory=time.time)
    warnings: list[str] = field(default_factory=list)
    reserved: dict[str, dict[str, float]] = field(default_factory=dict)
    leaks: list[dict[str, Any]] = field(default_factory=list)
    background: list[dict[str, Any]] = field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.display.say(f"note: {text}")


def run_study(study: Study, *, display: Display, fresh: bool = False) -> Outcome:
    """Do what has no result yet, then report on all of it.

    Args:
        fresh: put earlier results of this study aside and do everything again.

    Raises:
        StorageError: another process is at it.
    """
    storage = results_folder(study.storage)
    with only_one(storage / study.name):
        here = present(study)
        if fresh:
            aside = f"{study.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"
            files.move_folder(storage / study.name, storage / aside)
        tracking = Tracking(study.tracking_uri, storage=storage, study=study.name)
        try:
            return _run_study(here, storage, display, tracking)
        except KeyboardInterrupt:
            tracking.stop()
            raise


def _run_study(here: Present, storage: Path, display: Display, tracking: Tracking) -> Outcome:
    study = here.study
    folder = StudyFolder(storage / study.name)
    run = _Run(study, folder, display, tracking)
    for sentence in here.left_out:
        run.warn(sentence)
    look_for_weights(study, say=display.say)
    with cluster(study.scaling) as resources:
        display.say(f"Ray on {resources}")
        if not resources.embedded:
            check_storage(storage)
        run.reserved = reserved(study.scaling, resources)
        photos = load_photos(
            study.data, made=storage / "herd", prepared=storage / "prepared", display=display
        )
        run.warnings += photos.notes
        run.leaks = photos.leaks
        images, rows = photos.images, photos.rows
        refuse_empty(study, rows)
        _background(run, rows, images)
        stages = plan_study(study, rows)
        _open_folder(run, rows, photos.quarantine, stages)
        run.tracking.begin(folder, dataset_inputs(rows, study))
        shared = Materials(images, rows)
        materials = ray.put(shared)
        with _bench(run, shared, materials, storage, resources) as bench:
            _baselines(run, stages, bench)
        _trials(run, stages.trials, materials, resources, search=study.search)
        winner = _best_trial(folder, stages.trials, study)
        with _bench(run, shared, materials, storage, resources) as bench:
            dependent = _dependent(run, stages, winner, bench)
        keys = stages.keys() + [plan.key for plan in dependent]
        if winner is not None:
            keys += _confirm(run, winner, materials, resources)
            keys += _transfer(run, winner, stages, materials, rows, resources)
    if winner is not None:
        _export(run, winner, rows)
    selected = _select(run, stages, dependent, rows)
    _write_study(run, keys, winner.key if winner else None, stages.digest, selected)
    record = folder.load()
    make_gallery(record.rows, images, panels(record), folder.gallery_path)
    report = write_report(record, results_folder(study.reports) / study.name)
    run.tracking.finish(folder, report.parent, summary_text(record))
    if run.tracking.problem:
        display.say(f"note: {run.tracking.problem}; the runs are safe, the same command copies them later")
    compared = [plan.key for plan in stages.trials] or keys
    return Outcome(
        record,
        report,
        tracking_uri=run.tracking.uri,
        compare=run.tracking.compare_path(compared),
        model=folder.selected_path,
    )


def _open_folder(run: _Run, rows: pd.DataFrame, quarantine: pd.DataFrame, plan: StudyPlan) -> None:
    """Write what is known before the work starts, so that an unfinished study can be looked at."""
    files.write_table(run.folder.rows_path, shared_columns(rows, run.study.data.share))
    files.write_table(run.folder.quarantine_path, quarantine)
    write_manifest(run.folder.path, rows, run.study.data.split, run.study.data.unseen)
    _write_study(run, plan.keys(), winner=None, digest=plan.digest)
    lacking = [one for one in plan.trials if one.trial.weights == "auto" and one.weights == "random"]
    for note in sorted({one.note for one in lacking}):
        run.warn(note)


def _background(run: _Run, rows: pd.DataFrame, images: PreparedImages) -> None:
    """Whether the background alone tells who it is, where the animal can be masked out."""
    run.background, notes = look_at_backgrounds(run.study.data, rows, images)
    for note in notes:
        run.warn(note)


def _write_study(
    run: _Run, keys: list[str], winner: str | None, digest: str, selected: Result | None = None
) -> None:
    study = {
        "name": run.study.name,
        "config": as_written(run.study.model_dump(mode="json")),
        "provenance": provenance(data_digest=digest, config_digest=run.study.digest()),
        "methods": keys,
        "winner": winner,
        "selected": None if selected is None else selected.key,
        "started_at": run.started_at,
        "seconds": time.time() - run.started_at,
        "warnings": run.warnings,
        "reserved": run.reserved,
        "leaks": run.leaks,
        "background": run.background,
        "rows_sha256": run.folder.rows_sha256(),
    }
    files.write_json(run.folder.study_path, seals.sealed(study))


def _bench(
    run: _Run, shared: Materials, materials: ray.ObjectRef, storage: Path, resources: Cluster
) -> RayBench:
    """Workers for methods that need no training."""
    scaling = run.study.scaling
    gpus = gpus_per_worker(scaling, resources)
    slots = int(resources.gpus / gpus) if gpus else resources.cpus
    return RayBench(
        shared,
        materials,
        features_store=storage / "features",
        vectors_store=storage / "vectors",
        matching=scaling.matching_actors or resources.cpus,
        embedding=max(1, min(slots, scaling.embedding_actors or slots, resources.cpus)),
        gpus=gpus,
    )


def _baselines(run: _Run, plan: StudyPlan, bench: RayBench) -> None:
    """Chance, networks without fine-tuning, local features."""
    rows = bench.materials.rows
    if not run.folder.method(plan.chance_key).done():
        score_chance(plan.chance_key, rows, run.folder.method(plan.chance_key))
    encoders = [encoder for encoder in plan.encoders if not run.folder.method(encoder.key).done()]
    photos = len(rows) * sum(not encoder.missing for encoder in encoders)
    if encoders:
        with run.display.phase("networks without fine-tuning", photos, "photos embedded") as phase:
            bench.embedded = phase.at
            score_encoders(encoders, bench, run.folder)
    for matcher in plan.matchers:
        method = method_of(matcher.key, plan, (), run.folder)
        _run(run, method, matcher.key, "local features", bench, pair_count(rows))
    for key in plan.baseline_keys():
        run.tracking.sync(run.folder.method(key))
    for sentence in told_of(plan.encoders, run.folder):
        run.warn(sentence)


def _run(run: _Run, method: Method, key: str, family: Family, bench: RayBench, pairs: int) -> None:
    """One method, if it has no result yet."""
    folder = run.folder.method(key)
    if not folder.done():
        with run.display.phase(method.name, pairs, "pairs") as phase:
            run_method(method, key, family, bench, folder, k=run.study.top_k, told=phase.at)
    result = folder.result()
    if result.status == "failed":
        run.warn(f"{result.method} failed: {result.note}")
    elif result.status == "not_run":
        run.warn(f"{result.method} was not run: {result.note}")


def _dependent(run: _Run, stages: StudyPlan, winner: Plan | None, bench: RayBench) -> list[DependentPlan]:
    """What builds on other methods: local features behind a shortlist, fusions."""
    rows = bench.materials.rows
    plans = plan_dependent(run.study, stages, winner, rows, run.folder)
    for plan in plans:
        if plan.method is None:
            result = Result(
                key=plan.key,
                method=plan.config.name,
                kind="baseline",
                family=plan.family,
                scope="+".join(pd.unique(rows["dataset"])),
                started_at=time.time(),
                status="not_run",
                note=f"requires {plan.lacking!r}, which is not there",
            )
            run.folder.method(plan.key).finish(result)
            run.warn(f"{result.method} was not run: {result.note}")
        else:
            _run(run, plan.method, plan.key, plan.family, bench, pairs_of(rows, plan.config))
        run.tracking.sync(run.folder.method(plan.key))
    return plans


def _best_trial(folder: StudyFolder, plans: list[Plan], study: Study) -> Plan | None:
    """The setting of the grid that the validation photos select."""
    results = [folder.method(plan.key).result() for plan in plans]
    best = select(results, per_collection=study.scope == "per_dataset")
    return next((plan for plan in plans if best is not None and plan.key == best.key), None)


def _select(
    run: _Run, stages: StudyPlan, dependent: list[DependentPlan], rows: pd.DataFrame
) -> Result | None:
    """The best method of all families by validation, saved for use; None where none finished."""
    keys = stages.keys() + [plan.key for plan in dependent]
    results = [run.folder.method(key).result() for key in keys if run.folder.method(key).finished()]
    selected = select(results, per_collection=run.study.scope == "per_dataset")
    if selected is None:
        return None
    if selected_by_queries(results):
        run.warn(
            "no validation photos were kept, so the method to use was selected by the query photos, and its "
            "figures on them are too high; set data.split.validation_share above 0"
        )
    try:
        method = method_of(selected.key, stages, dependent, run.folder)
        export_selected(run.study, run.folder, method, selected, stages, rows)
    except ReidError as error:
        run.warn(f"{selected.method} was not saved for use: {error}")
    return selected


def _trials(
    run: _Run, plans: list[Plan], materials: ray.ObjectRef, resources: Cluster, *, search: Search
) -> None:
    """What of these has no result yet."""
    waiting = [plan for plan in plans if left_to_do(run.folder.method(plan.key), search=search)]
    for plan in waiting:
        run.folder.method(plan.key).forget()  # a trial takes a result for one of this start
    if kept := len(plans) - len(waiting):
        run.display.say(f"{kept} of {len(plans)} trials have a result already and are kept")
    for note in look_for_room(waiting, run.study.scaling, resources, run.folder):
        run.warn(note)
    halving = start_halving(plans, run.study.asha, run.folder) if search == "asha" else None
    epochs: dict[str, int] = {}
    ended: set[str] = set()
    done, total = 0, sum(plan.trial.epochs for plan in waiting)
    with run.display.phase(f"{len(waiting)} trials", total, "epochs") as phase:

        def follow(plan: Plan, epoch: int, end: bool) -> None:
            nonlocal done
            done += epoch - epochs.get(plan.key, 0)
            epochs[plan.key] = epoch
            if end:
                ended.add(plan.key)
                run.tracking.sync(run.folder.method(plan.key))
            phase.at(done, f"{len(ended)} trials ended, {plan.trial.label}")

        errors = run_trials(
            waiting, materials, run.folder, run.study.scaling, resources, progress=follow, halving=halving
        )
    if halving and halving.stopped:
        run.display.say(f"ASHA stopped {len(halving.stopped)} trials early")
    for plan in plans:
        method = run.folder.method(plan.key)
        if not method.finished():
            why = errors.get(plan.key) or "its process ended without a result"
            method.finish(plan.empty_result().but(status="failed", note=f"lost: {why}"))
        if method.result().status == "failed":
            run.warn(f"trial {plan.trial.label} failed: {method.result().note}")


def _transfer(
    run: _Run,
    winner: Plan,
    stages: StudyPlan,
    materials: ray.ObjectRef,
    rows: pd.DataFrame,
    resources: Cluster,
) -> list[str]:
    """Train with species withheld, if that is asked for; returns the plans' keys."""
    plans, search = plan_transfer(run.study, rows, stages, winner), search_of(run.study)
    for plan in plans:
        adopt(run.folder, plan, stages.trials, search=search)
    if plans:
        run.display.say(f"with species withheld: {len(plans)} trainings")
    _trials(run, plans, materials, resources, search=search)
    for plan in plans:
        run.tracking.sync(run.folder.method(plan.key))
    return [plan.key for plan in plans]


def _export(run: _Run, winner: Plan, rows: pd.DataFrame) -> None:
    """A model that cannot be handed on does not spoil the study."""
    try:
        export_winner(run.folder, winner, rows)
    except ReidError as error:
        run.warn(f"the winner's model was not exported: {error}")


def _confirm(run: _Run, winner: Plan, materials: ray.ObjectRef, resources: Cluster) -> list[str]:
    """Train the winner once more under DDP, if its workers fit; returns the plan's key, if there is one."""
    scaling = run.study.scaling
    if not scaling.winner_workers:
        return []
    plan = confirmation(winner, workers=scaling.winner_workers)
    folder = run.folder.method(plan.key)
    if not folder.done():
        try:
            gpus = gpus_per_worker(scaling, resources)
            check_fits(
                scaling,
                workers=scaling.winner_workers,
                gpus_per_worker=gpus,
                cpus=resources.cpus,
                gpus=resources.gpus,
            )
            with run.display.phase("winner under DDP", scaling.winner_workers, "workers") as _:
                train_distributed(
                    plan,
                    materials,
                    folder,
                    workers=scaling.winner_workers,
                    scaling=scaling,
                    gpus_per_worker=gpus,
                    storage=address(run.folder.path / "ray" / "train"),
                    callbacks=[],
                )
        except (ResourceError, TrialError) as error:
            run.warn(f"the winner was not confirmed under DDP: {error}")
    if folder.finished():
        run.tracking.sync(folder)
    return [plan.key]

"""Run a whole study: photos, split, every method, MLflow, report. Whatever is done already is kept.

In: a `Study` config. Out: a finished study folder, MLflow runs and a report.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import ray

from reid_ray.config.base import as_written
from reid_ray.config.collections import Present, present
from reid_ray.config.named import results_folder
from reid_ray.config.tune import Study
from reid_ray.datasets.prepared import Materials, PreparedImages
from reid_ray.datasets.schema import shared_columns
from reid_ray.errors import ReidError
from reid_ray.methods.selection import select, selected_by_queries
from reid_ray.on_ray.background import look_at_backgrounds
from reid_ray.on_ray.cluster.nodes import check_storage
from reid_ray.on_ray.cluster.reserved import reserved
from reid_ray.on_ray.cluster.session import Cluster, cluster
from reid_ray.on_ray.photos import load_photos
from reid_ray.on_ray.retrieval.bench import RayBench
from reid_ray.on_ray.side_by_side import beside, nodes_beside
from reid_ray.on_ray.stages import (
    StudyRun,
    confirm,
    dependent_methods,
    local_features,
    networks,
    train_trials,
    train_withheld,
)
from reid_ray.on_ray.training.tuning import gpus_per_worker
from reid_ray.progress import Display
from reid_ray.reporting.closing import summary_text
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs import files, seals
from reid_ray.runs.lock import only_one
from reid_ray.runs.methods import Result
from reid_ray.runs.provenance import provenance
from reid_ray.runs.study import StudyFolder, StudyRecord
from reid_ray.splits.manifest import write_manifest
from reid_ray.studies.export import export_selected, export_trial
from reid_ray.studies.methods_of import DependentPlan, method_of
from reid_ray.studies.planning import StudyPlan, dataset_inputs, left_to_do, plan_study
from reid_ray.studies.transfer import refuse_empty
from reid_ray.studies.trial import Plan
from reid_ray.studies.wanted import look_for_weights


@dataclass(frozen=True)
class Outcome:
    """What a study leaves behind, for the closing words.

    Attributes:
        report: path of index.html.
        compare: path of the MLflow UI's page that compares all trials, or "" if MLflow was not reached.
        model: folder of the selected method; there only if a method finished.
    """

    record: StudyRecord
    report: Path
    tracking_uri: str
    compare: str
    model: Path


def run_study(study: Study, *, display: Display, fresh: bool = False) -> Outcome:
    """Do what has no result yet, then report on all of it.

    Args:
        fresh: move earlier results of this study aside and do everything again.

    Raises:
        StorageError: another process is at it.
    """
    storage = results_folder(study.storage)
    with only_one(storage / study.name, say=display.say) as held:
        here = present(study)
        if fresh:
            moved_to = f"{study.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"
            files.move_folder(storage / study.name, storage / moved_to)
        tracking = Tracking(study.tracking_uri, storage=storage, study=study.name)
        try:
            return _run_study(here, storage, display, tracking)
        except KeyboardInterrupt:
            if held.lost:  # its runs are another machine's now
                tracking.give_up(held.lost)
            else:
                tracking.stop()
            raise


def _run_study(here: Present, storage: Path, display: Display, tracking: Tracking) -> Outcome:
    study = here.study
    folder = StudyFolder(storage / study.name)
    run = StudyRun(study, folder, display, tracking)
    for sentence in here.left_out:
        run.warn(sentence)
    look_for_weights(study, say=display.say)
    with cluster(study.scaling) as resources:
        display.say(f"Ray on {resources}")
        if not resources.embedded:
            check_storage(storage)
        run.reserved = reserved(study.scaling, resources)
        photos = load_photos(
            study.data, made=storage / "synthetic", prepared=storage / "prepared", display=display
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
        bench_of = partial(_bench, run, shared, materials, storage, resources)
        _independent_methods(run, stages, bench_of, materials, resources)
        selected_trial = _best_trial(folder, stages.trials, study)
        with bench_of() as bench:
            dependent = dependent_methods(run, stages, selected_trial, bench)
        keys = stages.keys() + [plan.key for plan in dependent]
        if selected_trial is not None:
            keys += confirm(run, selected_trial, materials, resources)
            keys += train_withheld(run, selected_trial, stages, materials, rows, resources)
    if selected_trial is not None:
        _export(run, selected_trial, rows)
    selected = _select(run, stages, dependent, rows)
    _write_study(run, keys, selected_trial.key if selected_trial else None, stages.digest, selected)
    record = folder.load()
    make_gallery(record.rows, images, panels(record), folder.gallery_path)
    report = write_report(record, results_folder(study.reports) / study.name)
    run.tracking.finish(folder, report.parent, summary_text(record))
    if run.tracking.problem:
        display.say(f"note: {run.tracking.problem}; the runs are safe, the same command copies them later")
    return Outcome(
        record,
        report,
        tracking_uri=run.tracking.uri,
        compare=run.tracking.compare_path(trials=len(stages.trials)),
        model=folder.selected_path,
    )


def _independent_methods(
    run: StudyRun,
    stages: StudyPlan,
    bench_of: Callable[..., RayBench],
    materials: ray.ObjectRef,
    resources: Cluster,
) -> None:
    """What builds on no other method. Where trainings on GPUs leave CPUs, local features are matched on these
    meanwhile, and on all once trainings have ended.
    """
    search = run.study.search
    waiting = any(left_to_do(run.folder.method(plan.key), search=search) for plan in stages.trials)
    nodes = nodes_beside(run.study.scaling, resources) if waiting else []
    train = partial(train_trials, run, stages.trials, materials, resources, search=search)
    if not nodes:
        with bench_of() as bench:
            networks(run, stages, bench)
            local_features(run, stages, bench)
        train()
        return
    with bench_of() as bench, bench_of(nodes) as aside:
        match = partial(local_features, run.aside(), stages, aside)
        with beside(match, alone=partial(aside.widen, bench.matching), stop=aside.stop):
            networks(run, stages, bench)
            bench.release()
            train()


def _open_folder(run: StudyRun, rows: pd.DataFrame, quarantine: pd.DataFrame, plan: StudyPlan) -> None:
    """Write what is known before the work starts, so that an unfinished study can be looked at."""
    files.write_table(run.folder.rows_path, shared_columns(rows, run.study.data.share))
    files.write_table(run.folder.quarantine_path, quarantine)
    write_manifest(run.folder.path, rows, run.study.data.split, run.study.data.unseen)
    _write_study(run, plan.keys(), selected_trial=None, digest=plan.digest)
    lacking = [one for one in plan.trials if one.trial.weights == "auto" and one.weights == "random"]
    for note in sorted({one.note for one in lacking}):
        run.warn(note)


def _background(run: StudyRun, rows: pd.DataFrame, images: PreparedImages) -> None:
    """Whether the background alone tells who it is, where the animal can be masked out."""
    run.background, notes = look_at_backgrounds(run.study.data, rows, images)
    for note in notes:
        run.warn(note)


def _write_study(
    run: StudyRun, keys: list[str], selected_trial: str | None, digest: str, selected: Result | None = None
) -> None:
    study = {
        "name": run.study.name,
        "config": as_written(run.study.model_dump(mode="json")),
        "provenance": provenance(data_digest=digest, config_digest=run.study.digest()),
        "methods": keys,
        "selected_trial": selected_trial,
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
    run: StudyRun,
    shared: Materials,
    materials: ray.ObjectRef,
    storage: Path,
    resources: Cluster,
    nodes: Sequence[str] = (),
) -> RayBench:
    """Workers for methods that need no training; those that match stay on `nodes`, if any are given."""
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
        nodes=nodes,
    )


def _best_trial(folder: StudyFolder, plans: list[Plan], study: Study) -> Plan | None:
    """The setting of the grid that the validation photos select."""
    results = [folder.method(plan.key).result() for plan in plans]
    best = select(results, per_collection=study.scope == "per_dataset")
    return next((plan for plan in plans if best is not None and plan.key == best.key), None)


def _select(
    run: StudyRun, stages: StudyPlan, dependent: list[DependentPlan], rows: pd.DataFrame
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


def _export(run: StudyRun, selected_trial: Plan, rows: pd.DataFrame) -> None:
    """A model that cannot be handed on does not spoil the study."""
    try:
        export_trial(run.folder, selected_trial, rows)
    except ReidError as error:
        run.warn(f"the selected trial's model was not exported: {error}")

"""Run a whole study: photos, split, every method, MLflow, report. Whatever is done already is kept.

In: a `Study` config. Out: a finished study folder, MLflow runs and a report.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import ray

from reid_ray.config.named import results_folder
from reid_ray.config.tune import Search, Study
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.errors import ReidError, ResourceError, TrialError
from reid_ray.evaluation.background import background_scores, background_warning
from reid_ray.evaluation.metrics import summarise
from reid_ray.on_ray.baselines import score_chance
from reid_ray.on_ray.data import load_photos
from reid_ray.on_ray.encoders import EncoderPlan, score_encoders, told_of
from reid_ray.on_ray.halving import left_to_do, start_halving
from reid_ray.on_ray.late import Late, plan_late
from reid_ray.on_ray.matching import run_matching
from reid_ray.on_ray.nodes import check_storage
from reid_ray.on_ray.planning import (
    MatchPlan,
    StudyPlan,
    confirmation,
    dataset_inputs,
    pair_count,
    plan_study,
)
from reid_ray.on_ray.progress import Display
from reid_ray.on_ray.reserved import reserved
from reid_ray.on_ray.session import Cluster, cluster
from reid_ray.on_ray.training import check_fits, train_distributed
from reid_ray.on_ray.transfer import adopt, plan_transfer, refuse_empty, search_of
from reid_ray.on_ray.trial import Materials, Plan
from reid_ray.on_ray.tuning import gpus_per_worker, look_for_room, run_trials
from reid_ray.on_ray.wanted import look_for_weights
from reid_ray.on_ray.winner import choose_winner, export_winner
from reid_ray.reporting.closing import summary_text
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs import files, seals
from reid_ray.runs.lock import only_one
from reid_ray.runs.methods import Result
from reid_ray.runs.provenance import provenance
from reid_ray.runs.storage import address
from reid_ray.runs.study import StudyFolder, StudyRecord
from reid_ray.splits.manifest import write_manifest


@dataclass(frozen=True)
class Outcome:
    """What a study leaves behind, for the closing words.

    Attributes:
        report: path of index.html.
        compare: path of the MLflow UI's comparison of all trials, or "" if MLflow was not reached.
        model: folder of the winner's model; there only if a trial finished.
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
    not_run: dict[str, str] = field(default_factory=dict)

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
        return _run_study(study, storage, display, fresh=fresh)


def _run_study(study: Study, storage: Path, display: Display, *, fresh: bool) -> Outcome:
    folder = StudyFolder(storage / study.name)
    if fresh:
        aside = f"{study.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"
        files.move_folder(folder.path, storage / aside)
    run = _Run(study, folder, display, Tracking(study.tracking_uri, storage=storage, study=study.name))
    run.not_run = look_for_weights(study, say=display.say)
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
        run.tracking.begin(folder, dataset_inputs(rows))
        materials = ray.put(Materials(images, rows))
        _baselines(run, stages, materials, rows, resources)
        _trials(run, stages.trials, materials, resources, search=study.search)
        winner = choose_winner(folder, stages.trials)
        keys = stages.keys() + _late(run, stages, winner, materials, rows, resources)
        if winner is not None:
            keys += _confirm(run, winner, materials, resources)
            keys += _transfer(run, winner, stages, materials, rows, resources)
    if winner is not None:
        _export(run, winner, rows)
    _write_study(run, keys, winner.key if winner else None, stages.digest)
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
        model=folder.winner_path,
    )


def _open_folder(run: _Run, rows: pd.DataFrame, quarantine: pd.DataFrame, plan: StudyPlan) -> None:
    """Write what is known before the work starts, so that an unfinished study can be looked at."""
    files.write_table(run.folder.rows_path, rows)
    files.write_table(run.folder.quarantine_path, quarantine)
    write_manifest(run.folder.path, rows, run.study.data.split, run.study.data.unseen)
    _write_study(run, plan.keys(), winner=None, digest=plan.digest)
    lacking = [one for one in plan.trials if one.trial.weights == "auto" and one.weights == "random"]
    for note in sorted({one.note for one in lacking}):
        run.warn(note)


def _background(run: _Run, rows: pd.DataFrame, images: PreparedImages) -> None:
    """Whether the background alone tells who it is, where the animal can be masked out."""
    kind = run.study.data.background
    if kind == "off":
        return
    run.background = background_scores(rows, images, run.study.data.images, boxes=kind == "bbox")
    for score in run.background:
        if score["beats_chance"]:
            run.warn(background_warning(score))


def _write_study(run: _Run, keys: list[str], winner: str | None, digest: str) -> None:
    study = {
        "name": run.study.name,
        "config": run.study.model_dump(mode="json"),
        "provenance": provenance(data_digest=digest, config_digest=run.study.digest()),
        "methods": keys,
        "winner": winner,
        "started_at": run.started_at,
        "seconds": time.time() - run.started_at,
        "warnings": run.warnings,
        "reserved": run.reserved,
        "leaks": run.leaks,
        "background": run.background,
        "rows_sha256": run.folder.rows_sha256(),
    }
    files.write_json(run.folder.study_path, seals.sealed(study))


def _baselines(
    run: _Run, plan: StudyPlan, materials: ray.ObjectRef, rows: pd.DataFrame, resources: Cluster
) -> None:
    """Chance, encoders as they come, local features."""
    if not run.folder.method(plan.chance_key).done():
        score_chance(plan.chance_key, rows, run.folder.method(plan.chance_key))
    encoders = [encoder for encoder in plan.encoders if not run.folder.method(encoder.key).done()]
    _score_encoders(run, encoders, materials, rows, resources)
    for matcher in plan.matchers:
        if not run.folder.method(matcher.key).done():
            _match(run, matcher, materials, rows, resources)
    for key in plan.baseline_keys():
        run.tracking.sync(run.folder.method(key))
    for sentence in told_of(plan.encoders, run.folder):
        run.warn(sentence)


def _score_encoders(
    run: _Run, plans: list[EncoderPlan], materials: ray.ObjectRef, rows: pd.DataFrame, resources: Cluster
) -> None:
    """Models as they come; what is not run is told, and so are the licences of what is."""
    scaling = run.study.scaling
    gpus = gpus_per_worker(scaling, resources)
    slots = int(resources.gpus / gpus) if gpus else resources.cpus
    actors = max(1, min(slots, scaling.embedding_actors or slots, resources.cpus))
    photos = len(rows) * sum(not plan.missing for plan in plans)
    with run.display.phase("models as they come", photos, "photos embedded") as phase:
        score_encoders(plans, materials, rows, run.folder, actors=actors, gpus=gpus, progress=phase.at)


def _match(
    run: _Run, plan: MatchPlan, materials: ray.ObjectRef, rows: pd.DataFrame, resources: Cluster
) -> None:
    """One local-feature method; what it cannot do is told, and the study goes on."""
    folder, name, started_at = run.folder.method(plan.key), plan.config.name, time.time()
    scope = "+".join(pd.unique(rows["dataset"]))
    result = Result(plan.key, name, "baseline", "local features", scope, started_at=started_at)
    joined = any(name in fusion.parts and fusion.shortlist is None for fusion in run.study.fusion)
    if reason := run.not_run.get(name):
        folder.finish(result.but(status="not_run", note=reason))
        return run.warn(f"{name} was not run: {reason}")
    try:
        with run.display.phase(name, pair_count(rows), "pairs matched") as phase:
            matched = run_matching(
                materials,
                rows,
                plan.config,
                folder,
                actors=run.study.scaling.matching_actors or resources.cpus,
                k=run.study.top_k,
                progress=lambda done, _total, detail: phase.at(done, detail),
                keep_scores=joined,
            )
    except ReidError as error:
        folder.finish(result.but(status="failed", note=str(error)))
        return run.warn(f"{name} failed: {error}")
    result = result.but(params=matched.params, metrics=summarise(matched.predictions))
    return folder.finish(result.but(seconds=time.time() - started_at), matched.predictions)


def _late(
    run: _Run,
    stages: StudyPlan,
    winner: Plan | None,
    materials: ray.ObjectRef,
    rows: pd.DataFrame,
    resources: Cluster,
) -> list[str]:
    """What builds on other methods; returns its keys."""
    plans = plan_late(run.study, stages, winner, rows, run.folder)
    late = Late(
        run.study,
        run.folder,
        materials,
        rows,
        run.display,
        actors=run.study.scaling.matching_actors or resources.cpus,
        gpus=gpus_per_worker(run.study.scaling, resources),
        early={matcher.config.name: matcher.key for matcher in stages.matchers},
    )
    late.run(plans, lambda key: run.tracking.sync(run.folder.method(key)))
    for plan in plans:
        result = run.folder.method(plan.key).result()
        if result.status == "failed":
            run.warn(f"{result.method} failed: {result.note}")
        elif result.status == "not_run":
            run.warn(f"{result.method} was not run: {result.note}")
    return [plan.key for plan in plans]


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

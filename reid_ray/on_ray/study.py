"""Run a whole study: photos, split, every method, MLflow, report. Whatever is done already is kept.

In: a `Study` config. Out: a finished study folder, MLflow runs and a report.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import ray

from reid_ray.config.named import results_folder
from reid_ray.config.tune import Study
from reid_ray.errors import ReidError, ResourceError, TrialError
from reid_ray.evaluation.metrics import summarise
from reid_ray.on_ray.baselines import score_chance, score_encoders
from reid_ray.on_ray.data import load_photos
from reid_ray.on_ray.late import Late, plan_late
from reid_ray.on_ray.matching import run_matching
from reid_ray.on_ray.planning import (
    MatchPlan,
    StudyPlan,
    confirmation,
    dataset_inputs,
    pair_count,
    plan_study,
)
from reid_ray.on_ray.progress import Display
from reid_ray.on_ray.session import Cluster, cluster
from reid_ray.on_ray.training import check_fits, train_distributed
from reid_ray.on_ray.trial import Materials, Plan
from reid_ray.on_ray.tuning import gpus_per_worker, run_trials
from reid_ray.on_ray.winner import choose_winner, export_winner
from reid_ray.reporting.closing import summary_text
from reid_ray.reporting.gallery import make_gallery, panels
from reid_ray.reporting.page import write_report
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs import files
from reid_ray.runs.methods import Result
from reid_ray.runs.provenance import provenance
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

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.display.say(f"note: {text}")


def run_study(study: Study, *, display: Display, fresh: bool = False) -> Outcome:
    """Do what has no result yet, then report on all of it.

    Args:
        fresh: put earlier results of this study aside and do everything again.
    """
    storage = results_folder(study.storage)
    folder = StudyFolder(storage / study.name)
    if fresh and folder.path.exists():
        folder.path.rename(
            folder.path.with_name(f"{study.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
        )
    run = _Run(
        study, folder, display, Tracking(study.tracking_uri, storage=storage, study=study.name)
    )
    with cluster() as resources:
        display.say(f"Ray on {resources}")
        photos = load_photos(study.data, made=storage / "herd", display=display)
        run.warnings += photos.notes
        images, rows = photos.images, photos.rows
        stages = plan_study(study, rows)
        _open_folder(run, rows, photos.quarantine, stages)
        run.tracking.describe(dataset_inputs(rows))
        materials = ray.put(Materials(images, rows))
        _baselines(run, stages, materials, rows, resources)
        _trials(run, stages.trials, materials, resources)
        winner = choose_winner(folder, stages.trials)
        keys = stages.keys() + _late(run, stages, winner, materials, rows, resources)
        if winner is not None and study.scaling.winner_workers:
            keys.append(_confirm(run, winner, materials, resources))
    if winner is not None:
        _export(run, winner, rows)
    _write_study(run, keys, winner.key if winner else None, stages.digest)
    record = folder.load()
    make_gallery(record.rows, images, panels(record), folder.gallery_path)
    report = write_report(record, results_folder(study.reports) / study.name)
    run.tracking.finish(folder, report.parent, summary_text(record))
    if run.tracking.problem:
        display.say(
            f"note: {run.tracking.problem}; the runs are safe, the same command copies them later"
        )
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
    if run.study.training.weights == "auto":
        for note in sorted({trial.note for trial in plan.trials if trial.weights == "random"}):
            run.warn(note)


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
    }
    files.write_json(run.folder.study_path, study)


def _baselines(
    run: _Run, plan: StudyPlan, materials: ray.ObjectRef, rows: pd.DataFrame, resources: Cluster
) -> None:
    """Chance, encoders as they come, local features."""
    if not run.folder.method(plan.chance_key).done():
        score_chance(plan.chance_key, rows, run.folder.method(plan.chance_key))
    encoders = [encoder for encoder in plan.encoders if not run.folder.method(encoder.key).done()]
    gpus = gpus_per_worker(run.study.scaling, resources)
    with run.display.phase("models as they come", len(encoders), "scored") as phase:
        score_encoders(encoders, materials, run.folder, gpus=gpus, progress=phase.at)
    for matcher in plan.matchers:
        if not run.folder.method(matcher.key).done():
            _match(run, matcher, materials, rows, resources)
    for key in plan.baseline_keys():
        run.tracking.sync(run.folder.method(key))


def _match(
    run: _Run, plan: MatchPlan, materials: ray.ObjectRef, rows: pd.DataFrame, resources: Cluster
) -> None:
    folder = run.folder.method(plan.key)
    started_at = time.time()
    actors = run.study.scaling.matching_actors or resources.cpus
    with run.display.phase(plan.config.name, pair_count(rows), "pairs matched") as phase:
        matched = run_matching(
            materials, rows, plan.config, folder, actors=actors, k=run.study.top_k,
            progress=lambda done, _total: phase.at(done),
            keep_scores=any(
                plan.config.name in fusion.parts and fusion.shortlist is None
                for fusion in run.study.fusion
            ),
        )  # fmt: skip
    result = Result(
        key=plan.key,
        method=plan.config.name,
        kind="baseline",
        family="local features",
        scope="+".join(pd.unique(rows["dataset"])),
        params=matched.params,
        metrics=summarise(matched.predictions),
        seconds=time.time() - started_at,
        started_at=started_at,
    )
    folder.finish(result, matched.predictions)


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
        run.study, run.folder, materials, rows, run.display,
        actors=run.study.scaling.matching_actors or resources.cpus,
        gpus=gpus_per_worker(run.study.scaling, resources),
        early={matcher.config.name: matcher.key for matcher in stages.matchers},
    )  # fmt: skip
    late.run(plans, lambda key: run.tracking.sync(run.folder.method(key)))
    for plan in plans:
        result = run.folder.method(plan.key).result()
        if result.status == "failed":
            run.warn(f"{result.method} failed: {result.note}")
    return [plan.key for plan in plans]


def _trials(run: _Run, plans: list[Plan], materials: ray.ObjectRef, resources: Cluster) -> None:
    """What of the grid has no result yet."""
    waiting = [plan for plan in plans if not run.folder.method(plan.key).done()]
    if kept := len(plans) - len(waiting):
        run.display.say(f"{kept} of {len(plans)} trials have a result already and are kept")
    epochs: dict[str, int] = {}
    ended: set[str] = set()
    total = sum(plan.trial.epochs for plan in waiting)
    with run.display.phase(f"{len(waiting)} trials", total, "epochs") as phase:

        def follow(plan: Plan, epoch: int, end: bool) -> None:
            epochs[plan.key] = epoch
            if end:
                ended.add(plan.key)
                run.tracking.sync(run.folder.method(plan.key))
            phase.at(sum(epochs.values()), f"{len(ended)} trials ended, {plan.trial.label}")

        run_trials(waiting, materials, run.folder, run.study.scaling, resources, progress=follow)
    for plan in plans:
        folder = run.folder.method(plan.key)
        if not folder.finished():
            result = plan.empty_result().but(
                status="failed", note="lost: its process ended without a result"
            )
            folder.finish(result)
        if folder.result().status == "failed":
            run.warn(f"trial {plan.trial.label} failed: {folder.result().note}")


def _export(run: _Run, winner: Plan, rows: pd.DataFrame) -> None:
    """A model that cannot be handed on does not spoil the study."""
    try:
        export_winner(run.folder, winner, rows)
    except ReidError as error:
        run.warn(f"the winner's model was not exported: {error}")


def _confirm(run: _Run, winner: Plan, materials: ray.ObjectRef, resources: Cluster) -> str:
    """Train the winner once more under DDP, where its workers fit; returns the plan's key."""
    scaling = run.study.scaling
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
                    storage=run.folder.path / "ray" / "train",
                    callbacks=[],
                )
        except (ResourceError, TrialError) as error:
            run.warn(f"the winner was not confirmed under DDP: {error}")
    if folder.finished():
        run.tracking.sync(folder)
    return plan.key

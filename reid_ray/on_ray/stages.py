"""The stages of a study that run methods: baselines, trials, what depends on others, confirmation.

In: a study under way, its plans and materials. Out: finished method folders; MLflow follows.
"""

import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pandas as pd
import ray

from reid_ray.config.tune import Scaling, Search, Study
from reid_ray.errors import ResourceError, TrialError
from reid_ray.methods.ready import Method
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.cluster.watchdog import watchdog
from reid_ray.on_ray.retrieval.bench import RayBench
from reid_ray.on_ray.retrieval.encoders import score_encoders, told_of
from reid_ray.on_ray.retrieval.methods import run_method
from reid_ray.on_ray.training.asha import start_halving
from reid_ray.on_ray.training.placement import check_fits, train_distributed
from reid_ray.on_ray.training.tuning import gpus_per_worker, look_for_room, run_trials
from reid_ray.progress import Display
from reid_ray.reporting.tracking import Tracking
from reid_ray.runs.methods import Family, Result
from reid_ray.runs.storage import address
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.chance import score_chance
from reid_ray.studies.methods_of import DependentPlan, method_of, plan_dependent
from reid_ray.studies.planning import StudyPlan, confirmation, left_to_do, pair_count, pairs_of
from reid_ray.studies.transfer import adopt, plan_transfer, search_of
from reid_ray.studies.trial import Plan


@dataclass
class StudyRun:
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

    def aside(self) -> "StudyRun":
        """For work beside the phase that is shown."""
        return replace(self, display=self.display.aside())

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.display.say(f"note: {text}")


def networks(run: StudyRun, plan: StudyPlan, bench: RayBench) -> None:
    """Chance, and networks without fine-tuning."""
    rows = bench.materials.rows
    if not run.folder.method(plan.chance_key).done():
        score_chance(plan.chance_key, rows, run.folder.method(plan.chance_key))
    encoders = [encoder for encoder in plan.encoders if not run.folder.method(encoder.key).done()]
    photos = len(rows) * sum(not encoder.missing for encoder in encoders)
    if encoders:
        with run.display.phase("networks without fine-tuning", photos, "photos embedded") as phase:
            bench.embedded = phase.at
            score_encoders(encoders, bench, run.folder)
    for key in (plan.chance_key, *(encoder.key for encoder in plan.encoders)):
        run.tracking.sync(run.folder.method(key))
    for sentence in told_of(plan.encoders, run.folder):
        run.warn(sentence)


def local_features(run: StudyRun, plan: StudyPlan, bench: RayBench) -> None:
    """Local features that need no other method."""
    for matcher in plan.matchers:
        method = method_of(matcher.key, plan, (), run.folder)
        _run_method(run, method, matcher.key, "local features", bench, pair_count(bench.materials.rows))
        run.tracking.sync(run.folder.method(matcher.key))


def _run_method(run: StudyRun, method: Method, key: str, family: Family, bench: RayBench, pairs: int) -> None:
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


def dependent_methods(
    run: StudyRun, stages: StudyPlan, selected_trial: Plan | None, bench: RayBench
) -> list[DependentPlan]:
    """What builds on other methods: local features behind a shortlist, fusions."""
    rows = bench.materials.rows
    plans = plan_dependent(run.study, stages, selected_trial, run.folder)
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
            _run_method(run, plan.method, plan.key, plan.family, bench, pairs_of(rows, plan.config))
        run.tracking.sync(run.folder.method(plan.key))
    return plans


def train_trials(
    run: StudyRun, plans: list[Plan], materials: ray.ObjectRef, resources: Cluster, *, search: Search
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
    with (
        run.display.phase(f"{len(waiting)} trials", total, "epochs") as phase,
        watchdog(run.display.say, partial(_waited_for, run.study.scaling, resources)) as moved,
    ):

        def follow(plan: Plan, epoch: int, end: bool) -> None:
            nonlocal done
            moved()
            done += epoch - epochs.get(plan.key, 0)
            epochs[plan.key] = epoch
            if end:
                ended.add(plan.key)
                run.tracking.sync(run.folder.method(plan.key))
            elif epoch:
                run.tracking.follow(run.folder.method(plan.key), plan.empty_result())
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


def _waited_for(scaling: Scaling, resources: Cluster) -> str:
    """What a trial needs and what is free, for whoever wonders why nothing moves."""
    free = ray.available_resources()
    gpus = gpus_per_worker(scaling, resources)
    each = f"{scaling.cpus_per_worker} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")
    count = max(1, scaling.workers)
    return (
        f"epochs take that long, or trials wait for nodes; a trial takes {count} worker(s) of {each}, and "
        f"{free.get('CPU', 0):.0f} of {resources.cpus} CPUs and {free.get('GPU', 0):.0f} of {resources.gpus} "
        "GPUs are free"
    )


def train_withheld(
    run: StudyRun,
    selected_trial: Plan,
    stages: StudyPlan,
    materials: ray.ObjectRef,
    rows: pd.DataFrame,
    resources: Cluster,
) -> list[str]:
    """Train with species withheld, if that is asked for; returns the plans' keys."""
    plans, search = plan_transfer(run.study, rows, stages, selected_trial), search_of(run.study)
    for plan in plans:
        adopt(run.folder, plan, stages.trials, search=search)
    if plans:
        run.display.say(f"with species withheld: {len(plans)} trainings")
    train_trials(run, plans, materials, resources, search=search)
    for plan in plans:
        run.tracking.sync(run.folder.method(plan.key))
    return [plan.key for plan in plans]


def confirm(run: StudyRun, selected_trial: Plan, materials: ray.ObjectRef, resources: Cluster) -> list[str]:
    """Train the selected trial once more under DDP, if its workers fit; returns the plan's key, if there is
    one."""
    scaling = run.study.scaling
    if not scaling.confirmation_workers:
        return []
    plan = confirmation(selected_trial, workers=scaling.confirmation_workers)
    folder = run.folder.method(plan.key)
    if not folder.done():
        try:
            gpus = gpus_per_worker(scaling, resources)
            check_fits(scaling, workers=scaling.confirmation_workers, gpus_per_worker=gpus, cluster=resources)
            with run.display.phase("selected trial under DDP", scaling.confirmation_workers, "workers") as _:
                train_distributed(
                    plan,
                    materials,
                    folder,
                    workers=scaling.confirmation_workers,
                    scaling=scaling,
                    gpus_per_worker=gpus,
                    storage=address(run.folder.path / "ray" / "train"),
                    callbacks=[],
                )
        except (ResourceError, TrialError) as error:
            run.warn(f"the selected trial was not confirmed under DDP: {error}")
    if folder.finished():
        run.tracking.sync(folder)
    return [plan.key]

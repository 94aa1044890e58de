"""Fan the grid out as Ray Tune trials.

In: plans without a result. Out: a result file for each; which trials failed is told, not raised, so that
the others are kept.
"""

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.callback import Callback

from reid_ray.config.training import Trial
from reid_ray.config.tune import Scaling
from reid_ray.embedding.memory import estimate
from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.cluster.shares import Share
from reid_ray.on_ray.training.asha import Halving, write_stopped
from reid_ray.on_ray.training.placement import HOLDER_CPUS, check_fits, train_distributed, train_here
from reid_ray.runs.storage import address, remote
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.capacity import check_trainings, look
from reid_ray.studies.trial import Plan

Progress = Callable[[Plan, int, bool], None]
"""Called with a plan, its epochs so far, and whether it has ended."""


def run_trials(
    plans: Sequence[Plan],
    materials: ray.ObjectRef,
    study: StudyFolder,
    scaling: Scaling,
    cluster: Cluster,
    *,
    progress: Progress,
    halving: Halving | None = None,
) -> dict[str, str]:
    """Run `plans` as trials, as many at a time as fit; each writes its own result.

    Args:
        halving: may stop trials early, for which a result is written here; None: all run to their end.

    Returns:
        The last error of each trial that was given up, by key.

    Raises:
        ResourceError: one trial needs more than the whole cluster has, or memory ran out.
    """
    if not plans:
        return {}
    gpus = gpus_per_worker(scaling, cluster)
    check_fits(scaling, workers=scaling.workers, gpus_per_worker=gpus, cluster=cluster)
    by_key = {plan.key: plan for plan in plans}
    trainable = tune.with_parameters(
        _trainable,
        plans=[ray.put(by_key)],
        materials=[materials],
        study=str(study.path),
        scaling=scaling,
        gpus=gpus,
    )
    nested = scaling.workers > 0
    follow = _Follow(by_key, progress, study, halving)
    resources = {"CPU": HOLDER_CPUS} if nested else {"CPU": scaling.cpus_per_worker, "GPU": gpus}
    tuner = tune.Tuner(
        tune.with_resources(trainable, resources),
        param_space={"key": tune.grid_search(list(by_key))},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=concurrent_trials(
                scaling, cluster, gpus, host_bytes=0 if gpus else _host_bytes(plans, scaling)
            ),
            reuse_actors=not nested,
            scheduler=halving,
            trial_name_creator=lambda trial: trial.config["key"],
            trial_dirname_creator=lambda trial: trial.config["key"],
        ),
        run_config=_run_config(study, follow),
    )
    try:
        tuner.fit()
    except RuntimeError as error:  # Ray's monitor ends processes before the machine stands still
        if "low on memory" not in str(error):
            raise
        raise ResourceError(
            "trials were ended because a machine ran out of memory; raise "
            "training.accumulation (which divides the batch), lower training.input_px or "
            "scaling.max_concurrent, then run the same again: what is finished is kept"
        ) from error
    return follow.errors


def _run_config(study: StudyFolder, follow: "_Follow") -> tune.RunConfig:
    return tune.RunConfig(
        name=f"{time.time_ns():x}",
        storage_path=str((study.path / "ray" / "tune").absolute()),
        # For lost machines: what no retry can mend is a result (see `trial.run`).
        failure_config=tune.FailureConfig(max_failures=3),
        callbacks=[follow],
        verbose=0,
    )


def gpus_per_worker(scaling: Scaling, cluster: Cluster) -> float:
    """As configured, else one GPU per worker where there are any."""
    if scaling.gpus_per_worker is not None:
        return scaling.gpus_per_worker
    return 1.0 if cluster.gpus else 0.0


def _host_bytes(plans: Sequence[Plan], scaling: Scaling) -> int:
    """Memory of the largest trial on CPUs, all its workers together."""
    workers = max(1, scaling.workers)
    kinds: dict[tuple[object, ...], Trial] = {}
    for trial in (plan.trial for plan in plans):
        kinds[trial.backbone, trial.input_px, trial.batch_size, trial.accumulation] = trial
    needs = (estimate(trial, workers=workers) for trial in kinds.values())
    return workers * max(need.state + need.activations for need in needs)


def concurrent_trials(scaling: Scaling, cluster: Cluster, gpus: float, *, host_bytes: int = 0) -> int:
    """How many trials run side by side without waiting for each other's resources for ever, or
    filling the memory: on CPUs each takes about `host_bytes`.
    """
    workers = max(1, scaling.workers)
    shares = cluster.shares or (Share("", cluster.cpus, cluster.gpus),)
    fit = sum(share.slots(cpus=scaling.cpus_per_worker, gpus=gpus) for share in shares) // workers
    if host_bytes and cluster.memory:
        fit = min(fit, cluster.memory // host_bytes)
    return max(1, min(fit, scaling.max_concurrent or fit))


def look_for_room(plans: Sequence[Plan], scaling: Scaling, cluster: Cluster, study: StudyFolder) -> list[str]:
    """Whether trainings fit on this machine, if it is all there is; see `check_trainings`."""
    if not plans or not cluster.embedded:
        return []
    gpus = gpus_per_worker(scaling, cluster)
    return check_trainings(
        look(study.path),
        [plan.trial for plan in plans],
        workers=scaling.workers,
        at_once=min(len(plans), concurrent_trials(scaling, cluster, gpus)),
        on_gpu=gpus > 0,
        on_disk=remote(study.path) is None,
    )


def _trainable(
    config: dict[str, Any],
    *,
    plans: list[ray.ObjectRef],
    materials: list[ray.ObjectRef],
    study: str,
    scaling: Scaling,
    gpus: float,
) -> None:
    """One Tune trial."""
    plan: Plan = _kept(plans[0])[config["key"]]
    folder = StudyFolder(Path(study)).method(plan.key)
    if folder.done():  # an earlier try wrote its result and was lost right after
        return
    torch.set_num_threads(scaling.cpus_per_worker)
    if scaling.workers == 0:
        train_here(plan, _kept(materials[0]), folder, tune.report)
        return
    from ray.tune.integration.ray_train import TuneReportCallback

    train_distributed(
        plan,
        materials[0],
        folder,
        workers=scaling.workers,
        scaling=scaling,
        gpus_per_worker=gpus,
        storage=address(Path(study) / "ray" / "train"),
        callbacks=[TuneReportCallback()],
    )


@lru_cache(maxsize=2)
def _kept(ref: ray.ObjectRef) -> Any:
    """Fetched once by an actor, not by each of its trials: thousands of plans take long to unpack."""
    return ray.get(ref)


def last_error(trial: Any) -> str:
    """The last line of what Tune kept of a trial's error: its kind and message; "" where there is none.

    Of one that Ray's memory monitor ended there are many more, with the commands of other people.
    """
    path = Path(trial.error_file or "")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if any("OutOfMemoryError" in line or "low on memory" in line for line in lines):
        return "its machine ran out of memory; lower training.input_px or scaling.max_concurrent"
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


class _Follow(Callback):  # type: ignore[misc]
    """Tells the driver of every epoch and every end, and writes down which trials were stopped."""

    def __init__(
        self, plans: dict[str, Plan], progress: Progress, study: StudyFolder, halving: Halving | None
    ) -> None:
        self._plans, self._progress = plans, progress
        self._study, self._halving = study, halving
        self.errors: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks for a restore that we never do; a display cannot be saved."""
        return {}

    def on_trial_result(self, iteration: int, trials: Any, trial: Any, result: Any, **_: Any) -> None:
        if "epoch" in result:
            self._progress(self._plans[trial.config["key"]], int(result["epoch"]), False)

    def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        plan = self._plans[trial.config["key"]]
        folder = self._study.method(plan.key)
        if self._halving and plan.key in self._halving.stopped and not folder.finished():
            epoch, top1 = self._halving.stopped[plan.key]
            write_stopped(plan, folder, epoch=epoch, top1=top1)
        self._progress(plan, plan.trial.epochs, True)

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **_: Any) -> None:
        key = trial.config["key"]
        self.errors[key] = last_error(trial)
        self._progress(self._plans[key], 0, True)

"""Stop weak trials early by asynchronous successive halving, judged by validation photos alone.

In: what trials report after each epoch. Out: go on or stop; and a result for each one stopped.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from reid_ray.config.tune import Asha
from reid_ray.embedding.selection import CRITERION
from reid_ray.runs.methods import MethodFolder
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.trial import Plan


@dataclass(frozen=True)
class _Racer:
    """A trial as the scheduler knows it, by our key: so it is the same one in every start."""

    trial_id: str


class Halving(FIFOScheduler):  # type: ignore[misc]
    """Trials are compared only with those that learn from the same photos: collections differ in difficulty.

    Attributes:
        stopped: epoch and validation top-1 of each trial, by key, when it was stopped.
    """

    def __init__(self, plans: Iterable[Plan], asha: Asha) -> None:
        super().__init__()
        self.stopped: dict[str, tuple[int, float]] = {}
        self._plans = {plan.key: plan for plan in plans}
        self._races: dict[Any, AsyncHyperBandScheduler] = {}
        for plan in self._plans.values():
            self._races.setdefault(
                _race(plan),
                AsyncHyperBandScheduler(
                    time_attr="epoch",
                    metric=CRITERION,
                    mode="max",
                    max_t=plan.trial.epochs + 1,
                    grace_period=asha.grace_epochs,
                    reduction_factor=asha.reduction,
                ),
            )

    def remember(self, plan: Plan, history: Iterable[Mapping[str, float]]) -> None:
        """Take in what a trial did in earlier starts, as if it had been in this one."""
        race = self._races[_race(plan)]
        race.on_trial_add(None, _Racer(plan.key))
        for row in history:
            if row["epoch"] < plan.trial.epochs:
                race.on_trial_result(None, _Racer(plan.key), dict(row))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        plan = self._plans[trial.config["key"]]
        self._races[_race(plan)].on_trial_add(tune_controller, _Racer(plan.key))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """A trial at its last epoch has only the queries left to answer, so it is left alone."""
        plan = self._plans[trial.config["key"]]
        if result.get("epoch", 0) >= plan.trial.epochs:
            return str(TrialScheduler.CONTINUE)
        race = self._races[_race(plan)]
        decision = race.on_trial_result(tune_controller, _Racer(plan.key), result)
        if decision == TrialScheduler.STOP:
            self.stopped[plan.key] = int(result["epoch"]), float(result[CRITERION])
        return str(decision)


def _race(plan: Plan) -> Any:
    return plan.datasets, plan.variant


def start_halving(plans: Sequence[Plan], asha: Asha, folder: StudyFolder) -> Halving:
    """The scheduler with all that is known of these trials."""
    halving = Halving(plans, asha)
    for plan in plans:
        halving.remember(plan, folder.method(plan.key).history())
    return halving


def write_stopped(plan: Plan, folder: MethodFolder, *, epoch: int, top1: float) -> None:
    """The result of a trial that was stopped: its validation figure, and no answer to any query."""
    seconds = sum(row.get("seconds", 0.0) for row in folder.history() if row["epoch"] <= epoch)
    result = plan.empty_result()
    note = (
        f"stopped early by ASHA after {epoch} of {plan.trial.epochs} epochs, "
        f"validation top-1 {100 * top1:.1f} %"
    )
    folder.finish(
        result.but(
            status="stopped",
            stopped_at=epoch,
            metrics={CRITERION: top1},
            seconds=seconds,
            started_at=time.time() - seconds,
            note=note,
        )
    )

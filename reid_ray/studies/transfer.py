"""Plan the trainings that some species are withheld from, each to answer the same queries.

In: the config, the table of photos, the grid's plans and selected_trial. Out: a plan per variant and setting.
"""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd

from reid_ray.config.training import Trial
from reid_ray.config.transfer import PAPER_LOSS, PAPER_LR
from reid_ray.config.tune import Search, Study
from reid_ray.errors import ConfigError
from reid_ray.evaluation.metrics import summarise
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, method_key
from reid_ray.runs.study import StudyFolder
from reid_ray.splits.domains import variant_rows
from reid_ray.splits.learnable import trained_on
from reid_ray.studies.planning import StudyPlan, left_to_do
from reid_ray.studies.trial import Plan


def refuse_empty(study: Study, rows: pd.DataFrame) -> None:
    """Check the table itself: groups of single photos are not known to the config.

    Raises:
        ConfigError: a variant would have nothing to train on.
    """
    if study.transfer is None:
        return
    pairs = set(zip(rows["dataset"].astype(str), rows["group"].astype(str), strict=True))
    try:
        study.transfer.refuse_empty(pairs, study.data.unseen)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def plan_transfer(study: Study, rows: pd.DataFrame, stages: StudyPlan, selected_trial: Plan) -> list[Plan]:
    """Every variant of every setting that was asked for, each once."""
    if study.transfer is None:
        return []
    weights = {plan.trial.backbone: (plan.weights, plan.note) for plan in stages.trials}
    evaluate = tuple(name for name in pd.unique(rows["dataset"]) if name in study.transfer.evaluate)
    plans = []
    for variant in study.transfer.variants:
        seen = variant_rows(rows, evaluate, variant)
        learned = seen[trained_on(seen)]
        base = replace(
            selected_trial,
            kind="transfer",
            datasets=evaluate,
            variant=variant,
            trained_on=tuple(map(str, pd.unique(learned["dataset"]))),
        )
        photos = _digest(seen)
        for trial in _settings(study, selected_trial):
            source, note = weights[trial.backbone]
            key = method_key(
                "transfer", trial.canonical(), source, evaluate, variant, study.top_k, photos, stages.digest
            )
            plans.append(replace(base, key=key, trial=trial, weights=source, note=note))
    return plans


def search_of(study: Study) -> Search:
    """How these trainings are searched: one that was asked for by itself is never stopped early."""
    whole = study.transfer is not None and study.transfer.settings == ("grid",)
    return study.search if whole else "grid"


def adopt(study: StudyFolder, plan: Plan, grid: list[Plan], *, search: Search) -> None:
    """Where a trial of the grid was the very same training, take its answers in place of a second one.

    That is so for `all` of a joint study: both learned from every seen dataset.
    """
    same = [one for one in grid if one.trial == plan.trial and set(plan.trained_on) <= set(one.datasets)]
    if plan.variant != "all" or not same:
        return
    source, folder = study.method(same[0].key), study.method(plan.key)
    if left_to_do(source, search=search) or not left_to_do(folder, search=search):
        return
    found, predictions = source.result(), source.predictions()
    metrics = {name: value for name, value in found.metrics.items() if name.startswith("val/")}
    if predictions is not None:
        predictions = predictions[predictions["dataset"].isin(plan.datasets)]
        predictions = predictions.reset_index(drop=True)
        metrics |= summarise(predictions)
    _copy_history(source, folder)
    empty = plan.empty_result()
    result = found.but(
        key=plan.key, kind="transfer", scope=empty.scope, params=found.params | empty.params, metrics=metrics
    )
    folder.finish(result, predictions)


def _copy_history(source: MethodFolder, folder: MethodFolder) -> None:
    if not files.exists(folder.history_path):
        for row in source.history():
            folder.append_history(row)


def _settings(study: Study, selected_trial: Plan) -> list[Trial]:
    """In the order asked for, each once."""
    found: dict[str, Trial] = {}
    paper = selected_trial.trial.model_copy(update={"loss": PAPER_LOSS, "lr": PAPER_LR})
    for setting in study.transfer.settings if study.transfer else ():
        trials = {"selected_trial": [selected_trial.trial], "paper": [paper], "grid": study.trials()}[setting]
        found |= {trial.canonical(): trial for trial in trials}
    return list(found.values())


def _digest(seen: pd.DataFrame) -> str:
    """Changes with which photos are learned from, validate or are asked."""
    part = seen[["key", "split", "validation"]].assign(learned=trained_on(seen))
    hashes = pd.util.hash_pandas_object(part, index=False).to_numpy()
    return hashlib.sha256(np.ascontiguousarray(hashes).tobytes()).hexdigest()[:16]

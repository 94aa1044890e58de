"""Hand a study's methods on: the selected one, ready to name animals, and the best network as a timm folder.

In: finished methods. Out: `<study>/selected/` and `<study>/selected_trial/`.
"""

from typing import Any

import pandas as pd

from reid_ray.config.tune import Study
from reid_ray.embedding.export import export
from reid_ray.methods.gallery import galleries
from reid_ray.methods.ready import Method
from reid_ray.methods.saved import SavedMethod, describe, save
from reid_ray.runs.methods import Result
from reid_ray.runs.study import StudyFolder
from reid_ray.splits.learnable import trained_on
from reid_ray.studies.planning import StudyPlan
from reid_ray.studies.trial import Plan


def export_selected(
    study: Study, folder: StudyFolder, method: Method, result: Result, plan: StudyPlan, rows: pd.DataFrame
) -> None:
    """Save the method with what it has learnt on each collection of the study.

    Raises:
        StorageError, WeightsError: weights are damaged or gone.
    """
    same = [result.key, *(one.key for one in plan.trials if _same(one, result, folder))]
    learnt: dict[str, Any] = {}
    for key in dict.fromkeys(same):
        learnt |= folder.method(key).learnt()
    trained = trained_on(rows) if method.trained else None
    asked = list(galleries(rows))
    contents = rows["content"].to_numpy(str)
    saved = SavedMethod(
        method=method,
        images=study.data.images,
        learnt=learnt,
        collections={one.fingerprint: one.name for one in asked},
        orders={one.fingerprint: contents[one.photos[: one.references]].tolist() for one in asked},
        trained_on=frozenset() if trained is None else frozenset(rows.loc[trained, "content"]),
        about={
            "study": study.name,
            "method": result.method,
            "what": describe(method),
            "figures": {
                name: value for name, value in result.metrics.items() if not name.startswith("test/")
            },
        },
    )
    save(saved, folder.selected_path)


def _same(plan: Plan, result: Result, folder: StudyFolder) -> bool:
    """Whether a trial is of the selected setting, on another collection."""
    return plan.trial.label == result.method and folder.method(plan.key).finished()


def export_trial(study: StudyFolder, plan: Plan, rows: pd.DataFrame) -> None:
    """Write the best network's weights, config and model card to `<study>/selected_trial`.

    Raises:
        StorageError: its checkpoint is damaged or gone.
    """
    folder = study.method(plan.key)
    export(
        study.selected_trial_path,
        trial=plan.trial,
        weights=plan.weights,
        trained=folder.checkpoint_path,
        result=folder.result(),
        data=[_collection(name, rows[rows["dataset"] == name]) for name in plan.datasets],
    )


def _collection(name: str, rows: pd.DataFrame) -> str:
    """One sentence for the model card."""
    reference = rows[rows["split"].isin(["reference", "train"])]
    unseen = (rows["domain"] == "unseen").all()
    return (
        f"{name}: {len(reference)} reference or training photos of "
        f"{reference['identity'].nunique()} animals, "
        f"{int((rows['split'] == 'query').sum())} query photos"
        + ("; not trained on (unseen)" if unseen else "")
    )

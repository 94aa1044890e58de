"""Choose the best setting of the grid without looking at the query set, and hand its model on.

In: plans with results. Out: the plan to be called the winner; its model as a timm folder.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

import pandas as pd

from reid_ray.embedding.export import export
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.trial import Plan


def choose_winner(study: StudyFolder, plans: Sequence[Plan]) -> Plan | None:
    """The setting with the highest median validation top-1 over its datasets; the earlier one on a tie.

    Where no validation slice was kept (share 0, as in the paper), seen top-1 on the queries decides, and
    the report says so. A setting that did not finish on every dataset stands back: its median would be
    over easier ones. None where no trial finished.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    plan_of: dict[str, Plan] = {}
    for plan in plans:
        result = study.method(plan.key).result()
        if result.status == "finished":
            scores[result.method].append(result.metrics.get("val/top1", result.metrics.get("seen/top1", 0.0)))
            plan_of.setdefault(result.method, plan)
    if not scores:
        return None
    most = max(map(len, scores.values()))
    whole = [method for method in scores if len(scores[method]) == most]
    return plan_of[max(whole, key=lambda method: median(scores[method]))]


def export_winner(study: StudyFolder, plan: Plan, rows: pd.DataFrame) -> None:
    """Write the winner's weights, config and model card to `<study>/winner`.

    Raises:
        StorageError: its checkpoint is damaged or gone.
    """
    folder = study.method(plan.key)
    export(
        study.winner_path,
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

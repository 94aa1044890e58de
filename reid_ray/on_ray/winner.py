"""Choose the best setting of the grid without looking at the query set.

In: plans with results. Out: the plan to be called the winner.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from reid_ray.on_ray.trial import Plan
from reid_ray.runs.study import StudyFolder


def choose_winner(study: StudyFolder, plans: Sequence[Plan]) -> Plan | None:
    """The setting with the highest median validation top-1 over its datasets; the earlier one on a tie.

    Where no validation slice was kept (share 0, as in the paper), seen top-1 on the queries decides, and
    the report says so. None where no trial finished.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    plan_of: dict[str, Plan] = {}
    for plan in plans:
        result = study.method(plan.key).result()
        if result.status == "finished":
            scores[result.method].append(
                result.metrics.get("val/top1", result.metrics.get("seen/top1", 0.0))
            )
            plan_of.setdefault(result.method, plan)
    if not scores:
        return None
    return plan_of[max(scores, key=lambda method: median(scores[method]))]

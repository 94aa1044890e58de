"""Select the best method without looking at a query. In: results. Out: the selected one.

Every method of a study answers the same validation photos: reference photos that are kept out of
training. They alone decide; the query photos judge afterwards.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from reid_ray.runs.methods import Result


def select(results: Sequence[Result], *, per_collection: bool = False) -> Result | None:
    """The method with the highest validation top-1; the earlier one on a tie. None where none finished.

    Where no validation photo was kept (share 0, as in the paper), seen top-1 on the queries decides, and
    whoever reports it must say so: see `selected_by_queries`. A method that did not finish on every
    collection stands back, as its median would be over easier ones.

    Args:
        per_collection: networks were trained on each collection by itself; then the median over the
            collections decides.
    """
    scores: dict[str, list[float]] = defaultdict(list)
    first: dict[str, Result] = {}
    by_queries = selected_by_queries(results)
    for result in results:
        if result.status == "finished" and result.family != "chance":
            scores[result.method] += _scores(result, per_collection=per_collection, by_queries=by_queries)
            first.setdefault(result.method, result)
    if not any(scores.values()):
        return None
    most = max(map(len, scores.values()))
    whole = [method for method in scores if len(scores[method]) == most]
    return first[max(whole, key=lambda method: median(scores[method]))]


def selected_by_queries(results: Sequence[Result]) -> bool:
    """Whether there are no validation figures to select by."""
    return not any("val/top1" in result.metrics for result in results if result.status == "finished")


def _scores(result: Result, *, per_collection: bool, by_queries: bool) -> list[float]:
    """One figure, or one per collection."""
    if by_queries:
        return [result.metrics["seen/top1"]] if "seen/top1" in result.metrics else []
    if per_collection:
        names = [name for name in result.metrics if name.startswith("val/") and name.count("/") == 2]
        if names:
            return [result.metrics[name] for name in names]
    return [result.metrics["val/top1"]] if "val/top1" in result.metrics else []

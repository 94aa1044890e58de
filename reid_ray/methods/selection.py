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
    collections = list(dict.fromkeys(one.scope for one in results if one.kind == "trial"))
    for result in results:
        if result.status == "finished" and result.family != "chance":
            scores[result.method] += (
                _by_queries(result, collections if per_collection else ())
                if by_queries
                else _by_validation(result, per_collection=per_collection)
            )
            first.setdefault(result.method, result)
    if not any(scores.values()):
        return None
    most = max(map(len, scores.values()))
    whole = [method for method in scores if len(scores[method]) == most]
    return first[max(whole, key=lambda method: median(scores[method]))]


def selected_by_queries(results: Sequence[Result]) -> bool:
    """Whether there are no validation figures to select by."""
    return not any("val/top1" in result.metrics for result in results if result.status == "finished")


def _by_queries(result: Result, collections: Sequence[str]) -> list[float]:
    """One figure, or one per collection that a network was trained on by itself."""
    each = [result.metrics.get(f"test/{name}/top1") for name in collections]
    found = [one for one in each if one is not None]
    return found or [result.metrics[name] for name in ("seen/top1",) if name in result.metrics]


def _by_validation(result: Result, *, per_collection: bool) -> list[float]:
    """One figure, or one per collection."""
    each = [name for name in result.metrics if name.startswith("val/") and name.count("/") == 2]
    names = each if per_collection and each else ["val/top1"]
    return [result.metrics[name] for name in names if name in result.metrics]

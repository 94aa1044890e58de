"""Views that MLflow's page of an experiment offers: all methods in one table, the grid's settings as charts.

In: the trials' parameters. Out: tags of the experiment, as the page itself writes them when a view is saved
(MLflow 3: a name, two times and the page's state, each as JSON), and the part of the address that opens one.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reid_ray.evaluation.metrics import DOMAINS

_TAG = "mlflow.sharedViewState."
METHODS, SETTINGS = "reid_ray_methods", "reid_ray_settings"
_BEST_FIRST = "metrics.`val/top1`"
_SECTION = "figures"
_AS_IT_IS = {"xAxisKey": "step", "useGlobalLineSmoothing": False, "lineSmoothness": 0}
"""The page smooths curves unless it is told not to."""


def views(trials: Sequence[Mapping[str, Any]], *, search: str, written_ms: int) -> dict[str, str]:
    """Tags by name; the view of the settings is left out where no two trials differ.

    Args:
        trials: the parameters of each.
        search: the page's search for trials alone.
    """
    parameters = _differing(trials)
    columns = [_BEST_FIRST, *(f"metrics.`{domain}/top1`" for domain in DOMAINS)]
    found = {
        METHODS: ("All methods", {**_state("", columns), "compareRunCharts": [], "compareRunSections": []})
    }
    if parameters:
        charts: list[dict[str, Any]] = [
            *_coordinates(trials),
            *({"type": "LINE", "metricKey": name, **_AS_IT_IS} for name in ("val/top1", "train/loss")),
            *({"type": "BAR", "metricKey": f"{domain}/top1"} for domain in DOMAINS),
        ]
        settings = _state(search, [*columns, *(f"params.`{name}`" for name in parameters)])
        settings |= {
            "compareRunCharts": [_chart(number, one) for number, one in enumerate(charts)],
            "compareRunSections": [_section()],
        }
        found[SETTINGS] = ("Settings of the grid", settings)
    return {
        _TAG + name: json.dumps(
            {"name": title, "createdAt": written_ms, "updatedAt": written_ms, "state": json.dumps(state)}
        )
        for name, (title, state) in found.items()
    }


def _differing(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for params in trials for name in params)
    return [name for name in names if len({str(params.get(name)) for params in trials}) > 1]


def _coordinates(trials: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Parallel coordinates, one chart for all trials with the same parameters: the page leaves out a trial
    that lacks one of a chart's parameters, as ArcFace lacks Triplet's mining.
    """
    alike: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for params in trials:
        alike.setdefault(tuple(params), []).append(params)
    for group in alike.values():
        if differing := _differing(group):
            loss = group[0].get("loss", "")
            yield {
                "type": "PARALLEL",
                "selectedParams": differing,
                "selectedMetrics": ["val/top1"],
                "displayName": f"{loss} settings by val/top1".strip(),
            }


def view_path(experiment_id: str, view: str, *, charts: bool) -> str:
    """A view's address, after the UI's host. Without the workflow's type, MLflow opens its page for GenAI."""
    mode = "&compareRunsMode=CHART" if charts else ""
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning{mode}&viewStateShareKey={view}"


def _state(search: str, columns: Sequence[str]) -> dict[str, Any]:
    return {
        "searchFilter": search,
        "orderByKey": _BEST_FIRST,
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(columns),
        "runsHiddenMode": "SHOWALL",
    }


def _chart(number: int, wanted: dict[str, Any]) -> dict[str, Any]:
    return {
        "uuid": f"chart{number}",
        "metricSectionId": _SECTION,
        "displayName": wanted.get("metricKey"),
        "runsCountToCompare": 100,
        "deleted": False,
        "isGenerated": False,
        **wanted,
    }


def _section() -> dict[str, Any]:
    return {
        "uuid": _SECTION,
        "name": "Figures",
        "display": True,
        "columns": 2,
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }

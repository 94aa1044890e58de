"""Views that MLflow's page of an experiment offers: all methods in one table, the grid's settings as charts.

In: the grid's parameters. Out: tags of the experiment, as the page itself writes them when a view is saved
(MLflow 3: a name, two times and the page's state, each as JSON), and the part of the address that opens one.
"""

import json
from collections.abc import Sequence
from typing import Any

from reid_ray.evaluation.metrics import DOMAINS

_TAG = "mlflow.sharedViewState."
METHODS, SETTINGS = "reid_ray_methods", "reid_ray_settings"
_BEST_FIRST = "metrics.`val/top1`"
_SECTION = "figures"


def views(parameters: Sequence[str], *, trials: str, written_ms: int) -> dict[str, str]:
    """Tags by name; those of a view that makes no sense are left out.

    Args:
        parameters: those that differ between trials; none: there is no grid to look at.
        trials: the page's search for trials alone.
    """
    columns = [_BEST_FIRST, *(f"metrics.`{domain}/top1`" for domain in DOMAINS)]
    found = {
        METHODS: ("All methods", {**_state("", columns), "compareRunCharts": [], "compareRunSections": []})
    }
    if parameters:
        charts: list[dict[str, Any]] = [
            {"type": "PARALLEL", "selectedParams": list(parameters), "selectedMetrics": ["val/top1"]},
            *({"type": "LINE", "metricKey": name, "xAxisKey": "step"} for name in ("val/top1", "train/loss")),
            *({"type": "BAR", "metricKey": f"{domain}/top1"} for domain in DOMAINS),
        ]
        settings = _state(trials, [*columns, *(f"params.`{name}`" for name in parameters)])
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
    name = wanted.get("metricKey", "val/top1 by setting")
    return {
        "uuid": f"chart{number}",
        "metricSectionId": _SECTION,
        "displayName": name,
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
        "isReordered": False,
        "deleted": False,
        "isGenerated": False,
    }

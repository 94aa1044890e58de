"""Say a method's result in MLflow's terms: parameters, figures, epochs, inputs, a description.

In: `Result`, history. Out: MLflow entities, each with a time of its own, so that copying again
changes nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import mlflow.entities as entities

from reid_ray.evaluation.metrics import DOMAINS, OTHER_ENCOUNTER_SECTION
from reid_ray.reporting.markdown import as_text
from reid_ray.runs.methods import Result

_EPOCH_NAMES = {
    "val/top1": "val/top1",
    "loss": "train/loss",
    "lr": "train/lr",
    "seconds": "train/seconds_per_epoch",
    # What begins so, the UI shows on a page of its own.
    "cpu_percent": "system/cpu_utilization_percentage",
    "memory_mb": "system/system_memory_usage_megabytes",
    "gpu_memory_mb": "system/gpu_0_memory_usage_megabytes",
}
_HEADLINES = ("{}/top1", "{}/mAP", "{}/top5", f"{OTHER_ENCOUNTER_SECTION}/{{}}/top1", "{}/auroc")
"""Of each domain, where there. All other figures, some 180, are in `result.json`."""


def run_name(result: Result) -> str:
    """The method's name, distinguished where one setting was trained more than once.

    Of a trained network what differs comes first, as the list of runs shows some twenty letters.
    """
    backbone, name = str(result.params.get("backbone", "")), result.method
    if backbone and name.startswith(f"{backbone} ") and result.family in ("ArcFace", "Triplet"):
        name = f"{name.removeprefix(backbone).strip().replace('=', '')} {backbone}"
    if result.kind == "confirmation":
        return f"DDP {name}"
    if result.kind == "transfer":
        return f"{result.params['variant']} {name}"
    return name


def params(result: Result) -> list[Any]:
    return [entities.Param(name, str(value)[:6000]) for name, value in result.params.items()]


def tags(values: dict[str, str]) -> list[Any]:
    return [entities.RunTag(name, value) for name, value in values.items()]


def figures(result: Result, epochs: int = 0) -> list[Any]:
    """The final figures that people compare, the most telling first; where there are several collections,
    each one's top-1 too.

    Args:
        epochs: of the training; the figures are those after the last, at the end of its curves.
    """
    names = [name.format(domain) for name in _HEADLINES for domain in DOMAINS]
    of_collections = [name for name in result.metrics if name.startswith("test/") and name.endswith("/top1")]
    if len(of_collections) > 1 or result.kind == "transfer":
        names += of_collections
    values = {**result.metrics, "seconds": result.seconds}
    ended = ms(result.started_at + result.seconds)
    wanted = ("val/top1", *names, "seconds")
    return [entities.Metric(name, values[name], ended, epochs) for name in wanted if name in values]


def epochs(result: Result, history: Iterable[dict[str, float]]) -> list[Any]:
    """The training history, at the times it happened; of older ones as far as the epochs' lengths tell."""
    metrics, at = [], result.started_at
    for row in history:
        at = row.get("ended_at", at + row.get("seconds", 0.0))
        metrics += [
            entities.Metric(said, row[name], ms(at), int(row["epoch"]))
            for name, said in _EPOCH_NAMES.items()
            if name in row
        ]
    return metrics


def inputs(datasets: Sequence[dict[str, str]], scope: str) -> list[Any]:
    """Those collections that a result is about."""
    names = scope.split("+")
    return [
        entities.DatasetInput(
            entities.Dataset(
                name=item["name"], digest=item["digest"][:36], source_type="local", source=item["source"]
            ),
            [entities.InputTag("mlflow.data.context", item["context"])],
        )
        for item in datasets
        if item["name"] in names
    ]


def description(result: Result) -> str:
    """Markdown for the run's page: what it is, how it did, what a reader must know."""
    lines = [f"**{as_text(result.method)}** ({result.family}, {result.kind}) on {as_text(result.scope)}"]
    if result.status != "finished":
        lines.append(f"Ended without a figure: {result.status.replace('_', ' ')}.")
    if result.note:
        lines.append(as_text(result.note))
    rows = [_table_row(result, domain) for domain in DOMAINS if f"{domain}/top1" in result.metrics]
    if rows:
        head = "| photos | top-1 (%) | 95 % interval | mAP (%) | queries |\n|---|---|---|---|---|\n"
        lines.append(head + "\n".join(rows))
    return "\n\n".join(lines)


def _table_row(result: Result, domain: str) -> str:
    def share(name: str) -> str:
        value = result.metrics.get(f"{domain}/{name}")
        return "" if value is None else f"{100 * value:.1f}"

    interval = f"{share('top1_low')} to {share('top1_high')}"
    queries = f"{result.metrics.get(f'{domain}/queries', 0):.0f}"
    return f"| {domain} | {share('top1')} | {interval} | {share('mAP')} | {queries} |"


def ms(seconds: float) -> int:
    return int(seconds * 1000)

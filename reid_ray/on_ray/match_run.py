"""Score several local-feature methods on the same photos. In: a `MatchRun`. Out: a table of
figures.

Every method has a folder below `<storage>/<name>/methods/`; one that has a result is not run again.
"""

import time
from pathlib import Path

import pandas as pd
import ray

from reid_ray.config.match import MatchRun
from reid_ray.config.matching import Matching
from reid_ray.config.named import results_folder
from reid_ray.datasets.catalogue import load_rows, refuse_bad_share
from reid_ray.evaluation.metrics import summarise
from reid_ray.on_ray.data import prepare_images
from reid_ray.on_ray.matching import Params, run_matching
from reid_ray.on_ray.progress import Display
from reid_ray.on_ray.session import cluster
from reid_ray.runs.methods import Result, method_key
from reid_ray.runs.study import StudyFolder
from reid_ray.splits.assign import assign
from reid_ray.splits.leaks import drop_leaks


def forecast(config: MatchRun) -> str:
    """How many pairs each method will compare."""
    made = results_folder(config.storage) / "herd"
    rows = assign(load_rows(config.data, made=made).rows, config.data.split).rows
    lines = [f"{len(config.methods)} methods: {', '.join(m.name for m in config.methods)}"]
    for name, part in rows.groupby("dataset", sort=False):
        sizes = part["split"].value_counts()
        queries, references = sizes.get("query", 0), sizes.get("reference", 0)
        lines.append(
            f"{name}: {queries} queries x {references} references = {queries * references} pairs"
        )
    return "\n".join(lines)


def run_methods(config: MatchRun, *, display: Display, fresh: bool) -> str:
    """Run what has no result yet; the leaderboard as text."""
    storage = results_folder(config.storage)
    folder = StudyFolder(storage / config.name)
    if fresh and folder.path.exists():
        aside = f"{config.name}.before-{time.strftime('%Y%m%d-%H%M%S')}"
        folder.path.rename(folder.path.with_name(aside))
    with cluster() as resources:
        rows, shared = _photos(config, storage, display)
        digest = pd.util.hash_pandas_object(rows[["key", "split", "content"]], index=False).sum()
        results = []
        for method in config.methods:
            key = method_key("matching", method.canonical(), config.top_k, int(digest))
            place = folder.method(key)
            if not place.done():
                actors = config.actors or resources.cpus
                began = time.time()
                total = _pairs(rows)
                with display.phase(method.name, total, "pairs matched") as phase:
                    predictions, params = run_matching(
                        shared, rows, method, place, actors=actors, k=config.top_k,
                        progress=lambda done, _total, phase=phase: phase.at(done),  # type: ignore[misc]
                    )  # fmt: skip
                place.finish(_result(key, method, rows, predictions, params, began), predictions)
            results.append(place.result())
    return leaderboard(results)


def _photos(
    config: MatchRun, storage: Path, display: Display
) -> tuple[pd.DataFrame, ray.ObjectRef]:
    """The rows that can be used, and their photos in the object store."""
    loaded = load_rows(config.data, made=storage / "herd")
    rows, findings = assign(loaded.rows, config.data.split, config.data.unseen)
    with display.phase("photos", len(rows), "decoded") as phase:
        images, kept, bad = prepare_images(rows, config.data.images, progress=phase.at)
    for name, part in rows.groupby("dataset", sort=False):
        lost = int((bad["dataset"] == name).sum())
        refuse_bad_share(str(name), bad=lost, total=len(part), images=config.data.images)
    kept, more = drop_leaks(kept)
    for finding in [*findings, *more]:
        display.say(f"note: {finding.text}")
    return kept, ray.put(images)


def _pairs(rows: pd.DataFrame) -> int:
    parts = [part["split"].value_counts() for _, part in rows.groupby("dataset", sort=False)]
    return sum(int(counts.get("query", 0)) * int(counts.get("reference", 0)) for counts in parts)


def _result(
    key: str,
    method: Matching,
    rows: pd.DataFrame,
    predictions: pd.DataFrame,
    params: Params,
    began: float,
) -> Result:
    return Result(
        key=key,
        method=method.name,
        kind="baseline",
        family="local features",
        scope="+".join(pd.unique(rows["dataset"])),
        params=params,
        metrics=summarise(predictions),
        seconds=time.time() - began,
        started_at=began,
    )


def leaderboard(results: list[Result]) -> str:
    """Top-1 with its 95 % interval per method and dataset, best method of each dataset first."""
    lines = []
    for result in results:
        for name, value in result.metrics.items():
            if name.startswith("test/") and name.endswith("/top1"):
                low, high = result.metrics[f"{name}_low"], result.metrics[f"{name}_high"]
                dataset = name.removeprefix("test/").removesuffix("/top1")
                lines.append((dataset, -value, result.method, low, high))
    return "\n".join(
        f"{dataset}: {method:<28} top-1 {-100 * value:5.1f} % "
        f"(95 %: {100 * low:.1f}-{100 * high:.1f})"
        for dataset, value, method, low, high in sorted(lines)
    )

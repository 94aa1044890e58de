"""Copy a study's folder into MLflow, so that its UI compares all runs; the only module that imports MLflow.

In: method folders, written by whoever did the work. Out: one flat MLflow run per method and one
summary run. A single writer in the driver does this; workers never wait for a tracking server.
Copying again changes nothing: runs are found by tag and every value keeps its time.
"""

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reid_ray.errors import TrackingError
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.runs.study import StudyFolder

# A dead server would otherwise hold each call for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
import mlflow.entities as entities
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

# MLflow sets up its own logging on import, so this comes after.
for _name in ("alembic", "mlflow", "mlflow.store.db.utils"):
    logging.getLogger(_name).setLevel(logging.ERROR)

KEY, KIND, STUDY, STATUS = "reid_ray.trial", "reid_ray.kind", "reid_ray.study", "reid_ray.status"
_BATCH = 900  # one call takes at most 1000 metrics


@dataclass
class Store:
    """One study's experiment in a tracking store."""

    client: MlflowClient
    uri: str
    study: str
    experiment_id: str
    datasets: tuple[dict[str, str], ...] = ()
    """Inputs of every run: name, digest, source, context."""

    @classmethod
    def open(cls, uri: str, *, study: str, artifacts: Path) -> "Store":
        """Find or make the experiment named like the study.

        Args:
            artifacts: where files of a new experiment go, if the store is a local SQLite file; a
                server decides for itself.

        Raises:
            TrackingError: the store cannot be reached or is not a tracking store.
        """
        local = uri.startswith("sqlite:")
        if local:
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        try:
            client = MlflowClient(tracking_uri=uri)
            found = client.get_experiment_by_name(study)
            if found is not None and found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            experiment_id = (
                found.experiment_id
                if found is not None
                # Without a location, files would land in whatever folder a process happens to run in.
                else client.create_experiment(
                    study,
                    artifact_location=(artifacts.absolute() / study).as_uri() if local else None,
                )
            )
        except Exception as error:  # MLflow raises many kinds: HTTP, SQL, its own
            raise TrackingError(
                f"MLflow at {uri}: {_first_line(error)}; check tracking_uri"
            ) from error
        return cls(client, uri, study, experiment_id)

    def sync_method(self, folder: MethodFolder) -> str:
        """Copy one method; returns the id of its run.

        Raises:
            TrackingError: the store did not take it; nothing is lost, call again later.
        """
        result = folder.result()
        try:
            run = self._find(result.key) or self._create(result)
            if run.data.tags.get("reid_ray.synced") == _version(folder):
                return str(run.info.run_id)
            self._copy(run.info.run_id, result, folder)
            return str(run.info.run_id)
        except Exception as error:
            raise TrackingError(f"MLflow at {self.uri}: {_first_line(error)}") from error

    def sync_summary(self, folder: StudyFolder, *, report: Path, description: str) -> str:
        """Copy the study's tables and its report as the summary run; returns its id."""
        study = json.loads(folder.study_path.read_text(encoding="utf-8"))
        key = f"summary-{self.study}"
        try:
            run = self._find(key) or self.client.create_run(
                self.experiment_id,
                start_time=_ms(study["started_at"]),
                run_name="summary",
                tags={KEY: key, KIND: "summary", STUDY: self.study},
            )
            run_id = run.info.run_id
            self.client.set_tag(run_id, "mlflow.note.content", description)
            for path in (folder.study_path, folder.rows_path, folder.quarantine_path):
                self.client.log_artifact(run_id, str(path))
            for part in (folder.gallery_path, folder.winner_path):
                if part.exists():
                    self.client.log_artifacts(run_id, str(part), part.name)
            self.client.log_artifacts(run_id, str(report), "report")
            self.client.set_terminated(
                run_id, "FINISHED", _ms(study["started_at"] + study["seconds"])
            )
            return str(run_id)
        except Exception as error:
            raise TrackingError(f"MLflow at {self.uri}: {_first_line(error)}") from error

    def compare_path(self, run_ids: Iterable[str]) -> str:
        """The part of the UI's address that compares these runs (charts, box plots, coordinates)."""
        runs = quote(json.dumps(list(run_ids)))
        return f"/#/compare-runs?runs={runs}&experiments={quote(json.dumps([self.experiment_id]))}"

    def _find(self, key: str) -> Any:
        runs = self.client.search_runs(
            [self.experiment_id], f"tags.`{KEY}` = '{key}'", max_results=1
        )
        return runs[0] if runs else None

    def _create(self, result: Result) -> Any:
        return self.client.create_run(
            self.experiment_id,
            start_time=_ms(result.started_at),
            run_name=result.method if result.kind != "confirmation" else f"{result.method} (DDP)",
            tags={
                KEY: result.key,
                KIND: result.kind,
                STUDY: self.study,
                "reid_ray.family": result.family,
                "mlflow.source.name": "reid_ray",
                "mlflow.source.type": "LOCAL",
                "reid_ray.scope": result.scope,
            },
        )

    def _copy(self, run_id: str, result: Result, folder: MethodFolder) -> None:
        ended = _ms(result.started_at + result.seconds)
        params = [entities.Param(name, str(value)[:6000]) for name, value in result.params.items()]
        self.client.log_batch(run_id, params=params)
        # The comparison page starts from whichever metric came first.
        metrics = [*_figures(result, ended), *_epochs(result, folder)]
        for start in range(0, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        used = [
            _dataset(**item) for item in self.datasets if item["name"] in result.scope.split("+")
        ]
        if used:
            self.client.log_inputs(run_id, used)
        for name in ("result.json", "predictions.parquet", "history.jsonl"):
            if (folder.path / name).exists():
                self.client.log_artifact(run_id, str(folder.path / name))
        self.client.set_tag(run_id, STATUS, result.status)
        self.client.set_tag(run_id, "mlflow.note.content", result.note or result.method)
        finished = "FINISHED" if result.status in ("finished", "diverged") else "FAILED"
        self.client.set_terminated(run_id, finished, ended)
        self.client.set_tag(run_id, "reid_ray.synced", _version(folder))


def reachable(uri: str) -> int:
    """Number of experiments that a tracking store has.

    Raises:
        TrackingError: it cannot be reached or read.
    """
    if uri.startswith("sqlite:") and not Path(uri.removeprefix("sqlite:///")).exists():
        return 0  # asking would make it
    try:
        return len(MlflowClient(tracking_uri=uri).search_experiments())
    except Exception as error:
        raise TrackingError(f"MLflow at {uri}: {_first_line(error)}; check tracking_uri") from error


def _shown_first(name: str) -> tuple[bool, bool, str]:
    return (name != "seen/top1", not name.endswith("top1"), name)


def _figures(result: Result, ended: int) -> list[Any]:
    figures = {**result.metrics, "seconds": result.seconds}
    figures = {name: figures[name] for name in sorted(figures, key=_shown_first)}
    return [entities.Metric(name, value, ended, 0) for name, value in figures.items()]


def _epochs(result: Result, folder: MethodFolder) -> list[Any]:
    """The training history, at the times it happened as far as the epochs' lengths tell."""
    metrics, at = [], result.started_at
    for row in folder.history():
        at += row.get("seconds", 0.0)
        metrics += [
            entities.Metric(
                f"train/{name}" if name in ("loss", "lr") else name,
                value,
                _ms(at),
                int(row["epoch"]),
            )
            for name, value in row.items()
            if name in ("loss", "lr", "val/top1")
        ]
    return metrics


def _dataset(name: str, digest: str, source: str, context: str) -> Any:
    return entities.DatasetInput(
        entities.Dataset(name=name, digest=digest[:36], source_type="local", source=source),
        [entities.InputTag("mlflow.data.context", context)],
    )


def _version(folder: MethodFolder) -> str:
    """Changes when the result is written anew."""
    return str((folder.path / "result.json").stat().st_mtime_ns)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, MlflowException) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0][:300]

"""Copy a study's folder into MLflow, so that its UI compares all runs and a report can be made from it.

In: method folders, written by whoever did the work. Out: one flat MLflow run per method and one
summary run. A single writer in the driver does this; workers never wait for a tracking server.
Copying again changes nothing: runs are found by tag and every value keeps its time. With a run's
files goes `files.json`, their checksums.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from reid_ray.errors import TrackingError
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.runs.study import StudyFolder

# A dead server would otherwise hold each call for minutes.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# Else the lock file of the project that a study is started in goes with each model, addresses and all.
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from reid_ray.reporting import mlflow_entities as said
from reid_ray.reporting.mlflow_model import register_selected
from reid_ray.reporting.mlflow_views import METHODS, SETTINGS, view_path, views

# MLflow sets up its own logging on import, so this comes after.
for _name in ("alembic", "mlflow", "mlflow.store.db.utils"):
    logging.getLogger(_name).setLevel(logging.ERROR)

KEY, KIND, STUDY, STATUS = "reid_ray.trial", "reid_ray.kind", "reid_ray.study", "reid_ray.status"
SYNCED, CHOSEN = "reid_ray.synced", "reid_ray.chosen"
STOPPED_AT = "reid_ray.stopped_at_epoch"
CHECKSUMS = "files.json"
_BATCH = 800  # one call takes at most 1000 metrics, parameters and tags together
_PAGE = 1000  # runs per search


@dataclass
class Store:
    """One study's experiment in a tracking store."""

    client: MlflowClient
    uri: str
    study: str
    experiment_id: str
    datasets: tuple[dict[str, str], ...] = ()
    """Inputs of every run: name, digest, source, context."""
    revision: str = ""
    """Commit of the code, for new runs."""
    copied: dict[str, tuple[str, str]] | None = None
    """Run and version of each method that is there, once it was asked for."""
    training: set[str] = field(default_factory=set)
    """Runs of trainings that go on."""

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
                    # The kind spares the UI's question what this is; the study marks it as ours.
                    tags={"mlflow.experimentKind": "custom_model_development", STUDY: study},
                )
            )
        except Exception as error:  # MLflow raises many kinds: HTTP, SQL, its own
            raise _told(uri, error, "; check tracking_uri") from error
        return cls(client, uri, study, experiment_id)

    @classmethod
    def existing(cls, uri: str, study: str | None) -> "Store":
        """Find a study that is there, without changing anything; without a name, the only one.

        Raises:
            TrackingError: no such store or study; lists the studies that are there.
        """
        if uri.startswith("sqlite:") and not Path(uri.removeprefix("sqlite:///")).is_file():
            raise TrackingError(f"MLflow at {uri}: no such file; give the store's address")
        try:
            client = MlflowClient(tracking_uri=uri)
            there = dict(_studies(client))
        except Exception as error:
            raise _told(uri, error, "; check the address and whether the server runs") from error
        name = study or (next(iter(there)) if len(there) == 1 else "")
        if name not in there:
            asked = f"no study {study!r}" if study else "say which study"
            listed = ", ".join(sorted(there)) or "none"
            raise TrackingError(f"MLflow at {uri}: {asked}; there are: {listed}")
        return cls(client, uri, name, there[name])

    def runs(self) -> Iterator[Any]:
        """All runs of the study, however many."""
        wanted = f"tags.`{STUDY}` = '{self.study}'"
        yield from _pages(
            lambda token: self.client.search_runs(
                [self.experiment_id], wanted, max_results=_PAGE, page_token=token
            )
        )

    def sync_method(self, folder: MethodFolder) -> str:
        """Copy one method; returns the id of its run.

        Raises:
            TrackingError: the store did not take it; nothing is lost, call again later.
        """
        result = folder.result()
        try:
            version = _version(folder)
            run_id, copied = self._run_of(result)
            if copied and copied != version and not result.stopped_at:
                self._forget_stop(run_id)
            if copied != version:
                self._copy(run_id, result, folder)
                self._there()[result.key] = run_id, version
            self.training.discard(run_id)
            return run_id
        except Exception as error:
            self.copied = None  # what was given up may be done late
            raise _told(self.uri, error) from error

    def sync_training(self, folder: MethodFolder, result: Result) -> str:
        """Show the epochs so far of a training that goes on; returns the id of its run.

        Args:
            result: still without figures.

        Raises:
            TrackingError: the store did not take it.
        """
        try:
            run_id, _ = self._run_of(result)
            if run_id not in self.training:
                self.client.update_run(run_id, status="RUNNING")
                self.client.log_batch(run_id, params=said.params(result))
                self.training.add(run_id)
            # What was shown before is there already, and is not doubled.
            metrics = said.epochs(result, folder.history())
            for start in range(0, len(metrics), _BATCH):
                self.client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
            return run_id
        except Exception as error:
            self.copied = None
            raise _told(self.uri, error) from error

    def _run_of(self, result: Result) -> tuple[str, str]:
        """Run and version of a method; a new run where it has none."""
        there = self._there()
        if result.key not in there:
            there[result.key] = str(self._create(result).info.run_id), ""
        return there[result.key]

    def _there(self) -> dict[str, tuple[str, str]]:
        """Run and version by key. One by one they would be looked for the longer, the more there are."""
        if self.copied is None:
            self.copied = self._what_is_there()
        return self.copied

    def _what_is_there(self) -> dict[str, tuple[str, str]]:
        """Run and version by key; of several runs of a key all but one are deleted.

        A server that answers late has made a run that this side gave up, and asked for again.
        """
        found: dict[str, tuple[str, str]] = {}
        for run in sorted(self.runs(), key=_whole_first):
            key, copied = _copied(run)
            if key in found:
                self.client.delete_run(run.info.run_id)
            else:
                found[key] = copied
        return found

    def sync_study(self, folder: StudyFolder) -> str:
        """Copy what is known of the study besides its methods as the summary run; returns its id."""
        study = files.read_json(folder.study_path)
        key = f"summary-{self.study}"
        try:
            run = self._find(key) or self.client.create_run(
                self.experiment_id,
                start_time=said.ms(study["started_at"]),
                run_name="summary",
                tags={KEY: key, KIND: "summary", STUDY: self.study, **self._source()},
            )
            if run.info.status != "RUNNING":  # an earlier start ended it
                self.client.update_run(run.info.run_id, status="RUNNING")
            self._copy_files(run.info.run_id, folder.path, folder.reported())
            return str(run.info.run_id)
        except Exception as error:
            raise _told(self.uri, error) from error

    def stop_study(self) -> None:
        """Close the summary run, if there is one, and what was training: the work was stopped."""
        for run_id in self.training:
            self.client.set_terminated(run_id, "KILLED")
        if run := self._find(f"summary-{self.study}"):
            self.client.set_terminated(run.info.run_id, "KILLED")

    def sync_summary(self, folder: StudyFolder, *, report: Path, description: str) -> str:
        """Copy the finished study, its report and its models; returns the id of the summary run."""
        run_id = self.sync_study(folder)
        study = files.read_json(folder.study_path)
        try:
            methods = [folder.method(key) for key in study.get("methods") or ()]
            results = [method.result() for method in methods if method.finished()]
            self._keep_views(results)
            self.client.set_tag(run_id, "mlflow.note.content", description)
            note = description + self._box_plots(results)
            self.client.set_experiment_tag(self.experiment_id, "mlflow.note.content", note)
            self.client.log_artifacts(run_id, str(files.fetch_folder(report)), "report")
            if files.entries(folder.selected_trial_path):
                selected_trial = files.fetch_folder(folder.selected_trial_path)
                self.client.log_artifacts(run_id, str(selected_trial), "selected_trial")
            self._mark(folder, study.get("selected"))
            ended = said.ms(study["started_at"] + study["seconds"])
            self.client.set_terminated(run_id, "FINISHED", ended)
            return run_id
        except Exception as error:
            raise _told(self.uri, error) from error

    def _keep_views(self, results: Iterable[Result]) -> None:
        """Offer views of the finished methods on the experiment's page."""
        trials = [result.params for result in results if result.kind == "trial"]
        found = views(trials, search=f"tags.`{KIND}` = 'trial'", written_ms=said.ms(time.time()))
        for tag, value in found.items():
            self.client.set_experiment_tag(self.experiment_id, tag, value)

    def compare_path(self, trials: int) -> str:
        """The part of the UI's address that compares all methods, or the settings of several trials."""
        view = SETTINGS if trials > 1 else METHODS
        return view_path(self.experiment_id, view, charts=trials > 1)

    def _box_plots(self, results: Iterable[Result]) -> str:
        """A line of Markdown with the page that has box plots; "" where there is nothing to plot."""
        there = self._there()
        runs = [there[one.key][0] for one in results if one.kind == "trial" and one.key in there]
        if len(runs) < 2:
            return ""
        both = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([self.experiment_id]))}"
        return f"\n- [Box plots of all settings](#/compare-runs?workflowType=machine_learning&{both})"

    def _find(self, key: str) -> Any:
        runs = self.client.search_runs([self.experiment_id], f"tags.`{KEY}` = '{key}'")
        return min(runs, key=_whole_first, default=None)

    def _create(self, result: Result) -> Any:
        return self.client.create_run(
            self.experiment_id,
            start_time=said.ms(result.started_at),
            run_name=said.run_name(result),
            tags={
                KEY: result.key,
                KIND: result.kind,
                STUDY: self.study,
                "reid_ray.family": result.family,
                "reid_ray.scope": result.scope,
                **{
                    f"reid_ray.{name}": str(result.params[name])
                    for name in ("variant", "trained_on")
                    if name in result.params
                },
                **self._source(),
            },
        )

    def _source(self) -> dict[str, str]:
        tags = {"mlflow.source.name": "reid_ray", "mlflow.source.type": "LOCAL"}
        return tags | ({"mlflow.source.git.commit": self.revision} if self.revision else {})

    def _forget_stop(self, run_id: str) -> None:
        """Of a trial that was stopped early and that a later start trained to its end."""
        if STOPPED_AT in self.client.get_run(run_id).data.tags:
            self.client.delete_tag(run_id, STOPPED_AT)

    def _copy(self, run_id: str, result: Result, folder: MethodFolder) -> None:
        tags = {STATUS: result.status, "mlflow.note.content": said.description(result)}
        if result.stopped_at:
            tags[STOPPED_AT] = str(result.stopped_at)
        # In few calls: each is a request, and with SQLite a write that waits for the disk.
        history = folder.history()
        metrics = [*said.figures(result, epochs=len(history)), *said.epochs(result, history)]
        self.client.log_batch(run_id, metrics[:_BATCH], said.params(result), said.tags(tags))
        for start in range(_BATCH, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        if used := said.inputs(self.datasets, result.scope):
            self.client.log_inputs(run_id, used)
        self._copy_files(run_id, folder.path, folder.reported())
        finished = "FINISHED" if result.status in ("finished", "diverged", "stopped") else "FAILED"
        ended = said.ms(result.started_at + result.seconds)
        self.client.set_terminated(run_id, finished, ended)
        self.client.set_tag(run_id, SYNCED, _version(folder))

    def _copy_files(self, run_id: str, folder: Path, names: Iterable[str]) -> None:
        """Files, then their checksums: whoever finds these finds all of them."""
        checksums = {}
        for name in names:
            path = files.fetched(folder / name)
            data = path.read_bytes()
            checksums[name] = hashlib.sha256(data).hexdigest()
            below = Path(name).parent.as_posix()
            self.client.log_artifact(run_id, str(path), None if below == "." else below)
        self.client.log_dict(run_id, checksums, CHECKSUMS)

    def _mark(self, folder: StudyFolder, key: str | None) -> None:
        """Tag the selected method's run, and no other, and register the method as a model."""
        run = self._find(key) if key else None
        marked = self.client.search_runs([self.experiment_id], f"tags.`{CHOSEN}` = 'true'")
        for other in marked:
            if run is None or other.info.run_id != run.info.run_id:
                self.client.delete_tag(other.info.run_id, CHOSEN)
        if run is not None:
            self.client.set_tag(run.info.run_id, CHOSEN, "true")
            if files.entries(folder.selected_path):
                about = said.description(folder.method(str(key)).result())
                selected = files.fetch_folder(folder.selected_path)
                register_selected(self.client, run, selected, self.study, about)


def _studies(client: MlflowClient) -> Iterator[tuple[str, str]]:
    """Name and experiment of every study in a store."""
    for experiment in _pages(lambda token: client.search_experiments(page_token=token)):
        if STUDY in experiment.tags:
            yield experiment.name, experiment.experiment_id


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
        raise _told(uri, error, "; check tracking_uri") from error


def _pages(search: Any) -> Iterator[Any]:
    """What a search finds, page after page."""
    page = search(None)
    yield from page
    while page.token:
        page = search(page.token)
        yield from page


def _version(folder: MethodFolder) -> str:
    """Changes when the result is written anew."""
    return hashlib.sha256(files.read_bytes(folder.path / "result.json")).hexdigest()[:16]


def _whole_first(run: Any) -> tuple[bool, str]:
    return SYNCED not in run.data.tags, str(run.info.run_id)


def _copied(run: Any) -> tuple[str, tuple[str, str]]:
    tags = run.data.tags
    return tags.get(KEY, ""), (str(run.info.run_id), tags.get(SYNCED, ""))


def _told(uri: str, error: Exception, advice: str = "") -> TrackingError:
    text = error.message if isinstance(error, MlflowException) else str(error)
    line = (text.strip().splitlines() or [type(error).__name__])[0][:300]
    return TrackingError(f"MLflow at {uri}: {line}{advice}")

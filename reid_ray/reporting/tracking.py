"""Keep MLflow up to date beside the work: a slow or dead server never holds up a study.

In: method folders as they finish. Out: MLflow runs; what could not be copied is copied by the next try.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any

from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.runs.storage import remote
from reid_ray.runs.study import StudyFolder

if TYPE_CHECKING:
    from reid_ray.reporting.mlflow_store import Store

PATIENCE_S = 600.0
"""For one call of many; a large model may take minutes to upload."""
SHOWN_EVERY_S = 5.0
"""How often a training's curves grow, so that short epochs do not flood the store."""
STOP_WITHIN_S = 10.0
"""A scheduler that sends SIGTERM waits for half a minute or so until it kills."""


class Tracking:
    """The single writer of a study's MLflow experiment, in a thread of its own.

    Attributes:
        problem: why the store could not be written at the last try; "" if it could.
    """

    def __init__(self, uri: str | None, *, storage: Path, study: str) -> None:
        # SQLite is a file: in object storage each study has its own, copied there at the end.
        home = storage if remote(storage) is None else storage / study / "mlflow"
        self._own = None if uri else home
        self.uri = uri or f"sqlite:///{home.absolute() / 'mlflow.db'}"
        self.problem = ""
        self._study, self._artifacts = study, home / "mlartifacts"
        self._datasets: tuple[dict[str, str], ...] = ()
        self._revision = ""
        self._run_ids: dict[str, str] = {}
        self._shown_at: dict[str, float] = {}
        self._store: Store | None = None
        self._jobs: Queue[Callable[[], None] | None] = Queue()
        self._moved_at = time.monotonic()
        # A daemon: a server that never ends its answer must not keep the command from ending.
        self._thread = Thread(target=self._serve, name="mlflow", daemon=True)
        self._thread.start()
        # Importing MLflow takes seconds, so it starts at once, beside Ray's own start.
        self._later(self._open)

    def begin(self, folder: StudyFolder, datasets: Sequence[dict[str, str]]) -> None:
        """Copy what is known before the work starts, so that a report can be made at any time.

        Args:
            datasets: inputs of all runs that follow: name, digest, source, context of each.
        """
        self._datasets = tuple(datasets)
        provenance = files.read_json(folder.study_path).get("provenance") or {}
        self._revision = str(provenance.get("git") or "").partition("+")[0]
        self._later(self._begin, folder)

    def follow(self, folder: MethodFolder, result: Result) -> None:
        """Show a training's epochs so far, soon: at its first, then every few seconds at most.

        Args:
            result: still without figures.
        """
        now = time.monotonic()
        if now - self._shown_at.get(result.key, -SHOWN_EVERY_S) >= SHOWN_EVERY_S:
            self._shown_at[result.key] = now
            self._later(self._follow, folder, result)

    def sync(self, folder: MethodFolder) -> None:
        """Copy a finished method soon; not at all until `finish` once the store has failed."""
        self._later(self._sync, folder)

    def finish(self, folder: StudyFolder, report: Path, description: str) -> None:
        """Copy all that is left and the summary, and wait for it, as long as anything moves."""
        self._moved_at = time.monotonic()
        self._jobs.put(self._retry)
        for method in folder.load().methods:
            self.sync(folder.method(method.result.key))
        self._later(self._summary, folder, report, description)
        self._jobs.put(None)
        while self._thread.is_alive():
            self._thread.join(0.1)
            if time.monotonic() - self._moved_at > PATIENCE_S:
                self.problem = f"MLflow at {self.uri}: no answer for {PATIENCE_S:.0f} s"
                return

    def stop(self) -> None:
        """Close the study's run, whose work was stopped; waits for the store for seconds at most."""
        self._later(self._stopped)
        self._jobs.put(None)
        self._thread.join(STOP_WITHIN_S)

    def give_up(self, why: str) -> None:
        """Copy nothing more, and leave every run as it is."""
        self.problem = why

    def compare_path(self, trials: int) -> str:
        """The UI's address, after its host, that compares all methods, or the grid's settings where there are
        several trials; "" if nothing was copied.

        To be asked after `finish`.
        """
        return self._store.compare_path(trials) if self._store and self._run_ids else ""

    def _later(self, work: Callable[..., object], *arguments: Any) -> None:
        def attempt() -> None:
            if self.problem:
                return
            try:
                work(*arguments)
            except Exception as error:  # whatever it is, no study ends for it
                self.problem = str(error) or type(error).__name__

        self._jobs.put(attempt)

    def _serve(self) -> None:
        for job in iter(self._jobs.get, None):
            self._moved_at = time.monotonic()
            job()

    def _retry(self) -> None:
        """From the start, with what the store really has by now."""
        self.problem = ""
        if self._store is not None:
            self._store.copied = None

    def _open(self) -> "Store":
        if self._store is None:
            from reid_ray.reporting.mlflow_store import Store

            if self._own is not None and not (self._own / "mlflow.db").exists():
                files.fetch_folder(self._own)
            self._store = Store.open(self.uri, study=self._study, artifacts=self._artifacts)
        self._store.datasets, self._store.revision = self._datasets, self._revision
        return self._store

    def _begin(self, folder: StudyFolder) -> None:
        self._open().sync_study(folder)

    def _stopped(self) -> None:
        self._open().stop_study()

    def _follow(self, folder: MethodFolder, result: Result) -> None:
        self._run_ids[result.key] = self._open().sync_training(folder, result)

    def _sync(self, folder: MethodFolder) -> None:
        self._run_ids[folder.path.name] = self._open().sync_method(folder)

    def _summary(self, folder: StudyFolder, report: Path, description: str) -> None:
        self._open().sync_summary(folder, report=report, description=description)
        if self._own is not None:
            files.publish_folder(self._own)

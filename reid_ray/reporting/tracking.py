"""Keep MLflow up to date beside the work: a slow or dead server never holds up a study.

In: method folders as they finish. Out: MLflow runs; what could not be copied is copied by the next try.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reid_ray.errors import TrackingError
from reid_ray.runs.methods import MethodFolder
from reid_ray.runs.study import StudyFolder

if TYPE_CHECKING:
    from reid_ray.reporting.mlflow_store import Store


class Tracking:
    """The single writer of a study's MLflow experiment, in a thread of its own."""

    def __init__(self, uri: str | None, *, storage: Path, study: str) -> None:
        self.uri = uri or f"sqlite:///{storage.absolute() / 'mlflow.db'}"
        self.problem = ""
        self._run_ids: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        # Importing MLflow takes seconds, so it starts at once, beside Ray's own start.
        self._store: Future[Store] = self._thread.submit(self._open, storage / "mlartifacts", study)

    def describe(self, datasets: Sequence[dict[str, str]]) -> None:
        """Name the inputs of all runs that follow: name, digest, source, context of each collection."""
        self._thread.submit(self._describe, tuple(datasets))

    def sync(self, folder: MethodFolder) -> None:
        """Copy a finished method soon."""
        self._thread.submit(self._sync, folder)

    def finish(self, folder: StudyFolder, report: Path, description: str) -> None:
        """Copy all that is left and the summary, and wait for it."""
        study = folder.load()
        for method in study.methods:
            self.sync(folder.method(method.result.key))
        self._thread.submit(self._summary, folder, report, description).result()
        self._thread.shutdown()

    def compare_path(self, keys: list[str]) -> str:
        """The UI's address, after its host, that compares these methods; "" if MLflow was not reached."""
        known = [self._run_ids[key] for key in keys if key in self._run_ids]
        return self._store.result().compare_path(known) if known and not self.problem else ""

    def _open(self, artifacts: Path, study: str) -> "Store":
        from reid_ray.reporting.mlflow_store import Store

        return Store.open(self.uri, study=study, artifacts=artifacts)

    def _describe(self, datasets: tuple[dict[str, str], ...]) -> None:
        with suppress(TrackingError):  # told by `finish`, which tries again
            self._store.result().datasets = datasets

    def _sync(self, folder: MethodFolder) -> None:
        try:
            self._run_ids[folder.path.name] = self._store.result().sync_method(folder)
        except TrackingError as error:
            self.problem = str(error)

    def _summary(self, folder: StudyFolder, report: Path, description: str) -> None:
        try:
            self._store.result().sync_summary(folder, report=report, description=description)
        except TrackingError as error:
            self.problem = str(error)

"""The ledger: one folder per method, whose result file is the last thing written.

A method (a trial of the grid or a baseline) is known by its key, a hash of everything that decides its
result. A start does only what has no result yet; retries, double starts and restarts are harmless.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from reid_ray.errors import StorageError
from reid_ray.runs import files, seals

SCHEMA = 3
"""Raised when the meaning of results changes, so that old ones are not mixed with new."""

REPORTED = ("result.json", "predictions.parquet", "history.jsonl", "learnt.json")
"""Files of a method that a report is made from."""
_ANSWERS = "predictions_sha256"

Kind = Literal["trial", "baseline", "confirmation", "transfer"]
"""`transfer`: a training that some datasets were withheld from, or its counterpart with all of them."""
Status = Literal["finished", "diverged", "out_of_memory", "stopped", "failed", "not_run"]
"""`stopped`: early, by the search; it has validation figures but never answered a query. `not_run`:
something it needs is not there (weights), and the note says how to get it: no fault."""
Family = Literal["chance", "untrained", "local features", "pretrained", "ArcFace", "Triplet", "fusion"]


@dataclass(frozen=True)
class Result:
    """What one method achieved.

    Attributes:
        key: 16 hex digits; see `method_key`.
        method: readable name, equal for the same setting on several datasets.
        scope: names of the datasets it was trained on or, without training, applied to; joined by `+`.
        params: settings as flat scalars, for tables and MLflow.
        metrics: finite numbers by sectioned name (`seen/top1`, `test/<dataset>/mAP`, `val/top1`);
            shares in 0..1.
        seconds: wall time of the method's own work.
        note: what a reader must know (weights used, why it failed).
        stopped_at: epoch after which the search stopped it; None where it did not.
    """

    key: str
    method: str
    kind: Kind
    family: Family
    scope: str
    status: Status = "finished"
    params: dict[str, str | int | float | bool] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    started_at: float = 0.0
    note: str = ""
    stopped_at: int | None = None

    def but(self, **changes: Any) -> "Result":
        """The same result with some fields changed."""
        return replace(self, **changes)


def method_key(*parts: Any) -> str:
    """Hash of JSON-able `parts` and the schema version: equal work has an equal key."""
    text = json.dumps([SCHEMA, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class MethodFolder:
    """The files of one method below `<study>/methods/<key>/`."""

    path: Path

    @property
    def history_path(self) -> Path:
        """JSON lines, one per epoch: {"epoch": 1, "loss": .., "lr": .., "val/top1": .., ...}."""
        return self.path / "history.jsonl"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint"

    def reported(self) -> list[str]:
        """Names of those files that a report is made from, as far as they are there."""
        return [name for name in REPORTED if files.exists(self.path / name)]

    def finished(self) -> bool:
        """Whether a whole result of this method is there; a damaged one counts as unfinished."""
        try:
            told = self._told()
            return self._result(told).key == self.path.name and self._answers_whole(told)
        except StorageError:
            return False

    def done(self) -> bool:
        """Whether there is nothing left to do: what failed, or ran out of memory, which another card may
        have, is tried again by the next start."""
        return self.finished() and self.result().status not in ("failed", "not_run", "out_of_memory")

    def result(self) -> Result:
        return self._result(self._told())

    def _told(self) -> dict[str, Any]:
        """What the result file says, as it was written."""
        path = self.path / "result.json"
        return seals.unsealed(files.read_json(path), path)

    def _result(self, told: dict[str, Any]) -> Result:
        try:
            return Result(**{name: value for name, value in told.items() if name != _ANSWERS})
        except TypeError as error:
            raise StorageError(f"{self.path / 'result.json'}: not a result ({error})") from None

    def _answers_whole(self, told: dict[str, Any]) -> bool:
        expected = told.get(_ANSWERS)
        return expected is None or expected == seals.sha256_of(self.path / "predictions.parquet")

    def predictions(self) -> pd.DataFrame | None:
        """One row per query (see `reid_ray.evaluation.predictions`), or None where there are none."""
        path = self.path / "predictions.parquet"
        return files.read_table(path) if files.exists(path) else None

    def history(self) -> list[dict[str, float]]:
        """Epochs so far, each once: as it was run last, where a resumed run went over it again.

        A line that was cut short by a crash, or cannot be read, is left out.
        """
        try:
            text = files.read_bytes(self.history_path).decode("utf-8", "replace")
        except FileNotFoundError:
            return []
        rows: dict[float, dict[str, float]] = {}
        for line in text.splitlines():
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                row = {name: float(value) for name, value in json.loads(line).items()}
                rows[row["epoch"]] = row
        return [rows[epoch] for epoch in sorted(rows)]

    def forget(self) -> None:
        """Take the result away, so that the method counts as not finished."""
        files.remove(self.path / "result.json")

    def append_history(self, row: dict[str, float]) -> None:
        """Add one epoch; non-finite values are left out, as JSON has none."""
        finite = {name: value for name, value in row.items() if math.isfinite(value)}
        # The line break comes first, so that a line cut short does not spoil the next one.
        files.append(self.history_path, "\n" + json.dumps(finite))

    def learnt(self) -> dict[str, Any]:
        """What was chosen or fitted, by the fingerprint of a gallery; {} where nothing was."""
        path = self.path / "learnt.json"
        return seals.unsealed(files.read_json(path), path) if files.exists(path) else {}

    def finish(
        self, result: Result, predictions: pd.DataFrame | None = None, learnt: Mapping[str, Any] | None = None
    ) -> None:
        """Write predictions, then the result: whoever sees the result sees all of it."""
        told = asdict(result)
        if learnt:
            files.write_json(self.path / "learnt.json", seals.sealed(learnt))
        if predictions is not None:
            path = self.path / "predictions.parquet"
            files.write_table(path, predictions)
            told[_ANSWERS] = seals.sha256_of(path)
        files.write_json(self.path / "result.json", seals.sealed(told))

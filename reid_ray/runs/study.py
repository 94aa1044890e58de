"""The folder of one study: its config, its table of photos, and the methods that were run on it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import fs

from reid_ray.config.named import results_folder
from reid_ray.errors import ConfigError, StorageError
from reid_ray.runs import files, seals
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.runs.storage import address, remote


@dataclass(frozen=True)
class StudyFolder:
    """`<storage>/<study name>/`: study.json, rows.parquet, quarantine.parquet, methods/<key>/, gallery/."""

    path: Path

    def method(self, key: str) -> MethodFolder:
        return MethodFolder(self.path / "methods" / key)

    @property
    def gallery_path(self) -> Path:
        return self.path / "gallery"

    @property
    def selected_trial_path(self) -> Path:
        """The best trained network, as a timm folder."""
        return self.path / "selected_trial"

    @property
    def selected_path(self) -> Path:
        """The selected method, of whatever family, ready to name animals."""
        return self.path / "selected"

    @property
    def study_path(self) -> Path:
        return self.path / "study.json"

    @property
    def rows_path(self) -> Path:
        return self.path / "rows.parquet"

    @property
    def quarantine_path(self) -> Path:
        return self.path / "quarantine.parquet"

    def reported(self) -> list[str]:
        """Names of those files, besides the methods', that a report is made from."""
        tables = (self.study_path, self.rows_path, self.quarantine_path)
        there = [path.name for path in tables if files.exists(path)]
        return there + [f"{self.gallery_path.name}/{n}" for n in files.entries(self.gallery_path)]

    def rows_sha256(self) -> str:
        """Of the table of photos, which the study's file keeps; "" where it is not there."""
        return seals.sha256_of(self.rows_path)

    def load(self) -> "StudyRecord":
        """Read everything a report needs."""
        study = seals.unsealed(files.read_json(self.study_path), self.study_path)
        if "winner" in study:  # as studies of before call it
            study["selected_trial"] = study.pop("winner")
        if study.get("rows_sha256", self.rows_sha256()) != self.rows_sha256():
            raise StorageError(
                f"{self.rows_path}: damaged, or of another start; run the study's command again, which "
                "writes it anew and keeps every result"
            )
        methods = [
            MethodRecord(folder.result(), folder.predictions(), folder.history())
            for folder in map(self.method, study["methods"])
            if folder.finished()
        ]
        return StudyRecord(
            study=study,
            rows=files.read_table(self.rows_path),
            quarantine=files.read_table(self.quarantine_path),
            methods=methods,
            gallery_path=self.gallery_path,
        )


@dataclass(frozen=True)
class MethodRecord:
    """One method's result, its ranked answers (None where it failed) and its epochs."""

    result: Result
    predictions: pd.DataFrame | None
    history: list[dict[str, float]]


@dataclass(frozen=True)
class StudyRecord:
    """A study as it is on disk.

    Attributes:
        study: name, config (plain data), provenance (git, versions, seeds, digests), methods (planned keys),
            selected_trial (key or None), started_at, seconds, warnings (sentences for the reader), reserved
            (CPUs and GPUs by kind of method).
        rows: the table of photos with their split.
        quarantine: photos quarantined: dataset, image_id, path, reason.
        methods: those with a result, in planned order.
        gallery_path: folder of thumbnails and gallery.json.
    """

    study: dict[str, Any]
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    methods: list[MethodRecord]
    gallery_path: Path

    def failed(self) -> list[Result]:
        """Methods that ended without a figure through a fault (divergence is a figure)."""
        return [
            record.result for record in self.methods if record.result.status in ("failed", "out_of_memory")
        ]


def find_study(name: str | None, storage: Path) -> StudyFolder:
    """The study called `name` below `storage`, or in the folder of that path; without a name, the only one.

    Raises:
        ConfigError: there is none; lists those that are there.
    """
    if name and files.exists(given := results_folder(name) / "study.json"):
        return StudyFolder(given.parent)
    there = _studies(storage)
    chosen = name or (there[0] if len(there) == 1 else None)
    if chosen in there:
        return StudyFolder(storage / str(chosen))
    asked = f"no study {name!r}" if name else "say which study"
    raise ConfigError(f"{address(storage)}: {asked}; there are: {', '.join(there) or 'none'}")


def _studies(storage: Path) -> list[str]:
    at = remote(storage)
    if at is None:
        return sorted(path.parent.name for path in storage.glob("*/study.json"))
    return sorted(
        info.base_name
        for info in at.filesystem.get_file_info(fs.FileSelector(at.key, allow_not_found=True))
        if files.exists(storage / info.base_name / "study.json")
    )

"""Bring a study back from MLflow alone, local or behind a server, so that its report can be made again.

In: the store's address, the study's name. Out: what a report is made from, as the study
left it.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from reid_ray.errors import TrackingError
from reid_ray.reporting.mlflow_store import CHECKSUMS, KEY, KIND, STATUS, SYNCED, Store
from reid_ray.runs import files
from reid_ray.runs.methods import REPORTED
from reid_ray.runs.study import StudyFolder, StudyRecord

_AT_ONCE = 8
_KEY = re.compile(r"[0-9a-f]{16}")
_STUDY_FILE = re.compile(r"[a-z]+\.(json|parquet)|gallery/[0-9a-z]+\.(json|jpg)")
_REPAIR = "run the study's command again on its storage, which copies what is missing"


@dataclass(frozen=True)
class Fetched:
    """A study that came back.

    Attributes:
        problems: a sentence for each part that did not.
    """

    record: StudyRecord
    problems: tuple[str, ...]


def fetch_study(uri: str, study: str | None, to: Path) -> Fetched:
    """Download into the empty folder `to` and load; parts that are missing or damaged are left out.

    Args:
        study: its name; None where the store has only one.

    Raises:
        TrackingError: no such store or study, or no usable description of the study or its photos.
    """
    store = Store.existing(uri, study)
    folder = StudyFolder(to)
    try:
        # Of a run that was made twice, the whole one comes last.
        ours = sorted(_ours(store), key=lambda run: SYNCED in run.data.tags)
        runs = {run.data.tags.get(KEY, ""): run.info.run_id for run in ours}
    except Exception as error:  # MLflow raises many kinds
        raise TrackingError(f"MLflow at {uri}: {error}") from error
    summary = runs.pop(f"summary-{store.study}", None)
    if summary is None:
        raise TrackingError(f"MLflow at {uri}: study {store.study} has no summary run; {_REPAIR}")
    problems = _fetch_summary(store, summary, folder)
    methods = {key: run_id for key, run_id in runs.items() if _KEY.fullmatch(key)}
    # A training has its run from its first epoch on, its status when it ends.
    for going_on in methods.keys() - {run.data.tags.get(KEY) for run in ours if STATUS in run.data.tags}:
        del methods[going_on]
        problems.append(f"In MLflow method {going_on} is still in training; it is left out here.")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda key: _fetch_method(store, methods[key], folder, key), methods)
        problems += [problem for part in found for problem in part]
    record = folder.load()
    if problems:
        warnings = [*(record.study.get("warnings") or ()), *problems]
        record = replace(record, study={**record.study, "warnings": warnings})
    return Fetched(record, tuple(problems))


def _ours(store: Store) -> Iterable[Any]:
    return (run for run in store.runs() if KIND in run.data.tags)


def _fetch_summary(store: Store, run_id: str, folder: StudyFolder) -> list[str]:
    """The study's tables and pictures; without its description and photos there is no report."""
    names = _checksums(store, run_id, folder.path)
    wanted = {name: sha for name, sha in names.items() if _STUDY_FILE.fullmatch(name)}
    bad = _download(store, run_id, folder.path, wanted)
    for path in (folder.study_path, folder.rows_path):
        if path.name in bad or path.name not in wanted:
            said = bad.get(path.name, "missing")
            raise TrackingError(
                f"MLflow at {store.uri}: {path.name} of the summary run of {store.study} is {said}, "
                f"and there is no report without it; {_REPAIR}"
            )
    if not folder.quarantine_path.exists():
        bad.setdefault(folder.quarantine_path.name, "missing")
        empty = pd.DataFrame(columns=["dataset", "image_id", "path", "reason"], dtype="str")
        files.write_table(folder.quarantine_path, empty)
    if any(name.startswith("gallery/") for name in bad):
        # Half a gallery would show pictures that are not there.
        (folder.gallery_path / "gallery.json").unlink(missing_ok=True)
    return [f"In MLflow {name} of the study is {said}; left out here." for name, said in bad.items()]


def _fetch_method(store: Store, run_id: str, folder: StudyFolder, key: str) -> list[str]:
    """One method's files; without all of them it counts as not run."""
    method = folder.method(key)
    method.path.mkdir(parents=True)
    try:
        names = _checksums(store, run_id, method.path)
    except TrackingError:
        return [f"In MLflow the files of method {key} are incomplete; it is left out here."]
    wanted = {name: sha for name, sha in names.items() if name in REPORTED}
    bad = _download(store, run_id, method.path, wanted)
    if not bad:
        return []
    method.forget()
    said = " and ".join(f"{name} is {what}" for name, what in bad.items())
    return [f"In MLflow {said} of method {key}; it is left out here."]


def _checksums(store: Store, run_id: str, to: Path) -> dict[str, str]:
    """Names and sha256 of a run's files.

    Raises:
        TrackingError: missing or damaged, so nothing of this run can be trusted to be whole.
    """
    try:
        path = Path(store.client.download_artifacts(run_id, CHECKSUMS, str(to)))
        names: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return {str(name): str(sha) for name, sha in names.items()}
    except Exception as error:  # MLflow raises many kinds; a list has no items
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrackingError(
            f"MLflow at {store.uri}: {CHECKSUMS} of run {run_id} cannot be read ({line}); {_REPAIR}"
        ) from None


def _download(store: Store, run_id: str, to: Path, wanted: dict[str, str]) -> dict[str, str]:
    """Download files below `to`; returns what is wrong with those that are not there afterwards."""
    bad = {}
    for name, sha256 in wanted.items():
        path = to / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # MLflow puts a file right into the folder that it is given, whatever its name has above it.
            store.client.download_artifacts(run_id, name, str(path.parent))
            data = path.read_bytes()
        except Exception:  # MLflow raises many kinds: HTTP, files, its own
            bad[name] = "missing"
            continue
        if hashlib.sha256(data).hexdigest() != sha256:
            bad[name] = "damaged"
            path.unlink()
    return bad

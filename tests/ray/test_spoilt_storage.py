"""Whole studies whose storage is spoilt, at work or between two starts: the right figures, or a sentence."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_study import Done, run, study_of

from reid_ray.errors import ReidError, explained
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import Outcome
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from faulty import write_record

pytestmark = pytest.mark.ray

SEED = int(os.environ.get("FAULT_SEED", "0"))
STARTS = int(os.environ.get("FAULT_STARTS", "1"))
HOW = "bytes of one to three of the files that it keeps, then a start"


def figures(outcome: Outcome) -> dict[str, Any]:
    """Of each method: how it ended, its figures, and its answers."""
    return {
        method.result.key: (
            method.result.status,
            method.result.metrics,
            None if method.predictions is None else method.predictions.to_dict("list"),
        )
        for method in outcome.record.methods
    }


def _same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """NaN is NaN, and a selected trial is always of the same figures."""
    return repr(found) == repr(expected)


def spoilt(folder: Path, rng: np.random.Generator) -> Iterator[tuple[Path, bytes]]:
    """Some files that were changed, with what was in them; not photos, as a changed photo is another one."""
    kept = (path for path in folder.rglob("*") if "synthetic" not in path.relative_to(folder).parts)
    there = sorted(path for path in kept if path.is_file() and path.stat().st_size)
    for place in rng.choice(len(there), size=int(rng.integers(1, 4)), replace=False):
        whole = there[place].read_bytes()
        data = bytearray(whole)
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        there[place].write_bytes(bytes(data))
        yield there[place], whole


@pytest.mark.timeout(3600)
def test_a_study_with_changed_bytes_ends_in_the_right_figures_or_in_a_sentence(done: Done) -> None:
    rng = np.random.default_rng(SEED)
    expected = figures(run(done.study)[0])
    told = 0
    for number in range(STARTS):
        changed = dict(spoilt(done.folder / "runs", rng))
        names = [str(path.relative_to(done.folder)) for path in changed]
        try:
            found = figures(run(done.study)[0])
            assert _same(found, expected), (number, names)
        except (ReidError, OSError) as error:
            sentence = str(error) if isinstance(error, ReidError) else explained(error)
            assert sentence, (number, names)
            told += 1
            print(f"\n{number}: {names}: {sentence}")
            for path, whole in changed.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(whole)
        else:
            print(f"\n{number}: {names}: the same figures")
    assert _same(figures(run(done.study)[0]), expected)
    write_record("changed bytes in a finished study", HOW, tried=STARTS, survived=STARTS, trials=0, doubled=0)


def test_a_study_whose_storage_becomes_read_only_says_so_and_goes_on_later(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk with open files cannot be remounted by hand, so each write is refused as it would be then."""
    changes: dict[str, Any] = {
        "grid": None,
        "baselines": {
            "matching": [{"name": "SIFT"}, {"name": "SIFT-2", "thresholds": [0.7]}],
            "random_init": False,
        },
        "fusion": [],
    }
    finish, write, ended = MethodFolder.finish, files._write, []

    def finish_and_count(self: MethodFolder, result: Result, *more: Any, **named: Any) -> None:
        finish(self, result, *more, **named)
        ended.append(result.key)

    def refused(path: Path, *parts: Any) -> None:
        if len(ended) >= 2:  # guessing and the first of SIFT
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        write(path, *parts)

    with monkeypatch.context() as later:
        later.setattr(MethodFolder, "finish", finish_and_count)
        later.setattr(files, "_write", refused)
        with pytest.raises((ReidError, OSError)) as stopped:
            run(study_of(tmp_path, **changes))
    sentence = str(stopped.value) if isinstance(stopped.value, ReidError) else explained(stopped.value)
    assert "Read-only file system" in str(sentence)
    methods = tmp_path / "runs" / "small" / "methods"  # MLflow has copies
    times = {path: path.stat().st_mtime_ns for path in methods.rglob("result.json")}
    assert len(times) == 2
    found = figures(run(study_of(tmp_path, **changes))[0])
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert _same(found, figures(run(study_of(tmp_path / "calm", **changes))[0]))
    write_record(
        "disk: read-only",
        "every write is refused from the middle of a study on",
        tried=1,
        survived=1,
        trials=0,
        doubled=0,
    )

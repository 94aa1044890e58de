"""The ledger never mistakes half a result for a whole one."""

import json
from pathlib import Path

import pandas as pd
import pytest

from reid_ray.errors import StorageError
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder, Result, method_key


def result(key: str = "k", **changes: object) -> Result:
    base = Result(key=key, method="m", kind="trial", family="ArcFace", scope="z")
    return base.but(**changes)


@pytest.fixture
def folder(tmp_path: Path) -> MethodFolder:
    return MethodFolder(tmp_path / "k")


def test_a_result_comes_back_as_it_was_written(folder: MethodFolder) -> None:
    written = result(metrics={"seen/top1": 0.1 + 0.2}, params={"lr": 0.1, "loss": "x", "b": True})
    folder.finish(written, pd.DataFrame({"query": ["a"], "top_keys": [["b", "c"]]}))
    assert folder.result() == written
    predictions = folder.predictions()
    assert predictions is not None
    assert list(predictions["top_keys"][0]) == ["b", "c"]


@pytest.mark.parametrize("cut", [0, 1, 50, -1])
def test_a_result_cut_short_is_unfinished_work(folder: MethodFolder, cut: int) -> None:
    folder.finish(result())
    path = folder.path / "result.json"
    path.write_bytes(path.read_bytes()[:cut])
    assert not folder.finished()
    assert not folder.done()


def test_a_result_of_another_method_does_not_count(folder: MethodFolder) -> None:
    folder.finish(result(key="other"))
    assert not folder.finished()


def test_what_failed_is_tried_again_and_what_diverged_is_not(folder: MethodFolder) -> None:
    folder.finish(result(status="failed"))
    assert (folder.finished(), folder.done()) == (True, False)
    folder.finish(result(status="diverged"))
    assert (folder.finished(), folder.done()) == (True, True)


def test_a_figure_that_is_not_a_number_is_refused_and_the_old_result_kept(folder: MethodFolder) -> None:
    folder.finish(result(metrics={"seen/top1": 0.5}))
    with pytest.raises(ValueError, match="JSON"):
        folder.finish(result(metrics={"seen/top1": float("nan")}))
    assert folder.result().metrics == {"seen/top1": 0.5}
    assert [path.name for path in folder.path.iterdir()] == ["result.json"]


def test_a_history_cut_in_a_line_keeps_all_others(folder: MethodFolder) -> None:
    folder.append_history({"epoch": 1, "loss": 0.5})
    folder.append_history({"epoch": 2, "loss": float("inf")})
    with folder.history_path.open("a") as file:
        file.write('\n{"epoch": 3, "lo')
    assert folder.history() == [{"epoch": 1, "loss": 0.5}, {"epoch": 2}]
    folder.append_history({"epoch": 3, "loss": 0.25})
    assert folder.history()[-1] == {"epoch": 3, "loss": 0.25}


def test_an_epoch_that_was_run_again_counts_once(folder: MethodFolder) -> None:
    for epoch, loss in ((1, 3.0), (2, 2.0), (3, 1.0), (2, 2.5), (3, 1.5)):
        folder.append_history({"epoch": epoch, "loss": loss})
    assert [row["loss"] for row in folder.history()] == [3.0, 2.5, 1.5]


def test_keys_differ_with_any_part_and_not_with_the_order_of_settings() -> None:
    assert method_key({"a": 1, "b": 2}, "x") == method_key({"b": 2, "a": 1}, "x")
    assert method_key({"a": 1}, "x") != method_key({"a": 1}, "y")
    assert method_key({"a": 1}) != method_key({"a": 1.5})
    assert len(method_key("x")) == 16


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"old": 1})

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(StorageError, match=r"a\.json: cannot be written .*No space left"):
        files.write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}
    assert [item.name for item in tmp_path.iterdir()] == ["a.json"]

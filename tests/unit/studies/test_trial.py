"""What a training leaves behind when it does not end well."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from reid_ray.config.training import ArcFace, Trial
from reid_ray.datasets.prepared import Materials, PreparedImages
from reid_ray.embedding import checkpoint
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import Diverged
from reid_ray.errors import DatasetError, TrialError
from reid_ray.runs import files, seals
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.studies import trial as module
from reid_ray.studies.trial import PARTS, Plan, StartAgain, parts_of, run

TRIAL = Trial(backbone="test_resnet", loss=ArcFace(name="arcface", margin_rad=0.2, scale=8), lr=0.1)
PLAN = Plan("0" * 16, "trial", TRIAL, ("zebra",), "random", "random weights", 5)


def ends_with(
    error: BaseException, folder: Path, monkeypatch: pytest.MonkeyPatch, worker: Worker | None = None
) -> Result:
    """The result on disk after a training that raised `error`."""

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(module, "_train", fail)
    rows = pd.DataFrame({"dataset": ["zebra"], "split": ["reference"]})
    images = PreparedImages.pack([np.zeros((32, 32, 3), np.uint8)])
    method = MethodFolder(folder / PLAN.key)
    try:
        run(PLAN, Materials(images, rows), worker or Worker(), method, lambda _: None)
    finally:
        written = method.finished()
    assert written
    return method.result()


def cpu_out_of_memory() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Diverged("loss became nan in epoch 3"), "diverged"),
        (torch.OutOfMemoryError("CUDA out of memory"), "out_of_memory"),
        (cpu_out_of_memory(), "out_of_memory"),
        (DatasetError("nothing to train on"), "failed"),
    ],
)
def test_divergence_lack_of_memory_and_bad_data_are_results(
    error: Exception, status: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends_with(error, tmp_path, monkeypatch).status == status


def test_what_no_retry_can_mend_is_told_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = ends_with(TypeError("no such argument"), tmp_path, monkeypatch)
    assert result.status == "failed"
    assert "TypeError: no such argument" in result.note
    assert "in fail" in (tmp_path / PLAN.key / "error.txt").read_text()


def test_what_a_lost_machine_may_have_caused_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuntimeError, match="shape mismatch"):
        ends_with(RuntimeError("shape mismatch"), tmp_path, monkeypatch)
    assert not MethodFolder(tmp_path / PLAN.key).finished()


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def fits_from_a_quarter(*arguments: Any) -> Any:
        tried.append(parts_of(arguments[4]))
        if tried[-1] < 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        raise Diverged("nan")  # it trained

    monkeypatch.setattr(module, "_train", fits_from_a_quarter)
    rows = pd.DataFrame({"dataset": ["zebra"], "split": ["reference"]})
    images = PreparedImages.pack([np.zeros((32, 32, 3), np.uint8)])
    method = MethodFolder(tmp_path / PLAN.key)
    assert run(PLAN, Materials(images, rows), Worker(), method, lambda _: None).status == "diverged"
    assert tried == [1, 2, 4]
    run(PLAN, Materials(images, rows), Worker(), method, lambda _: None)
    assert tried == [1, 2, 4, 4]  # the next start does not try in vain again


def test_with_summed_gradients_parts_are_batches_and_stay_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        globals(), "PLAN", replace(PLAN, trial=TRIAL.model_copy(update={"accumulate": "sum"}))
    )
    assert ends_with(torch.OutOfMemoryError("no"), tmp_path, monkeypatch).status == "out_of_memory"
    assert parts_of(MethodFolder(tmp_path / PLAN.key)) == 1


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_without_memory_makes_all_workers_start_again(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "_train", fail)
    method = MethodFolder(tmp_path / PLAN.key)
    rows = pd.DataFrame({"dataset": ["zebra"], "split": ["reference"]})
    images = PreparedImages.pack([np.zeros((32, 32, 3), np.uint8)])
    with pytest.raises(StartAgain, match="accumulation 2; all workers start again"):
        run(PLAN, Materials(images, rows), Worker(rank=rank, world=2), method, lambda _: None)
    assert not method.finished()
    assert parts_of(method) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_without_memory_for_the_smallest_part_ends_all_workers_and_leaves_the_result(
    rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = MethodFolder(tmp_path / PLAN.key)
    files.write_json(method.path / PARTS, seals.sealed({"parts": TRIAL.batch_size // 2}))
    with pytest.raises(TrialError, match="out of memory"):
        ends_with(cpu_out_of_memory(), tmp_path, monkeypatch, Worker(rank=rank, world=2))
    assert MethodFolder(tmp_path / PLAN.key).result().status == "out_of_memory"


@pytest.mark.parametrize(("error", "left"), [(Diverged("nan"), False), (DatasetError("none"), True)])
def test_nothing_goes_on_from_where_a_training_diverged(
    error: Exception, left: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = MethodFolder(tmp_path / PLAN.key).checkpoint_path
    files.write_json(before / checkpoint.MANIFEST, {})
    files.write_bytes(before / "0001-model.safetensors", b"weights")
    ends_with(error, tmp_path, monkeypatch)
    assert bool(list(before.iterdir())) == left


def test_divergence_is_known_to_all_workers_and_written_by_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ends_with(Diverged("nan"), tmp_path / "0", monkeypatch, Worker(rank=0, world=2))
    assert first.status == "diverged"
    with pytest.raises(AssertionError):
        ends_with(Diverged("nan"), tmp_path / "1", monkeypatch, Worker(rank=1, world=2))


def test_two_collections_animals_of_one_name_are_two_classes() -> None:
    rows = pd.DataFrame(
        {
            "dataset": ["zebra"] * 3 + ["owl"] * 3,
            "identity": ["a", "a", "b", "a", "a", "c"],
            "split": "reference",
            "validation": False,
            "domain": "seen",
        }
    )
    labels = module.training_set(rows, PreparedImages.pack([np.zeros((2, 2, 3), np.uint8)] * 6)).labels
    assert len(set(labels.tolist())) == 4
    assert labels[0] == labels[1] != labels[3] == labels[4]

"""Checkpoints are written beside the training, whole or not at all, and resumed on any device."""

import itertools
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from tiny_training import photos, trial
from torch import nn

from reid_ray.config.training import ArcFace, Trial
from reid_ray.embedding import checkpoint
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import train
from reid_ray.embedding.selection import Selection
from reid_ray.errors import StorageError
from reid_ray.runs import files


def training(seed: int) -> checkpoint.Training:
    torch.manual_seed(seed)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    loss = ArcFace(name="arcface", margin_rad=0.25, scale=16.0)
    trial = Trial(backbone="test_resnet", loss=loss, lr=0.1, epochs=9)
    return checkpoint.Training(trial, model, optimizer, schedule, Selection(trial))


def test_what_a_gpu_saved_is_resumed_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = training(0)
    saved.model(torch.ones(2, 6)).sum().backward()
    saved.optimizer.step()
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        checkpoint.Snapshot.take(saved, epoch=3).write(tmp_path)
    resumed = training(1)
    assert checkpoint.resume(tmp_path, resumed) == 3
    for one, another in zip(saved.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, another)
        momenta = [
            side.optimizer.state[value]["momentum_buffer"]
            for side, value in ((saved, one), (resumed, another))
        ]
        assert torch.equal(*momenta)


def losses(epochs: int, folder: Path | None, **changes: Any) -> tuple[list[float], torch.Tensor]:
    """Of a training that goes on from what is in the folder, with its weights in a row."""
    rows: list[dict[str, float]] = []
    done = train(
        trial(epochs=epochs, **changes),
        photos(),
        Worker(),
        weights="random",
        report=rows.append,
        folder=folder,
    )
    return [row["loss"] for row in rows], torch.cat([one.ravel() for one in done.model.state_dict().values()])


def killed_in_write(folder: Path, number: int, threads: int) -> None:
    """In a process of its own, which ends with half of the file that it writes as `number`, from 1."""
    torch.set_num_threads(threads)
    count, write = itertools.count(1), files.write_bytes

    def killing(path: Path, *parts: bytes | memoryview, **named: Any) -> None:
        if next(count) == number:
            half = b"".join(parts)
            path.with_name(f".{path.name}.0.tmp").write_bytes(half[: len(half) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, *parts, **named)

    files.write_bytes = killing
    losses(4, folder)


@pytest.mark.slow
@pytest.mark.parametrize("file", [1, 2, 3])
def test_a_kill_in_a_write_leaves_the_checkpoint_before_it(file: int, tmp_path: Path) -> None:
    """A checkpoint is three files; the second is interrupted in each of them."""
    whole, weights = losses(4, None)
    process = mp.get_context("spawn").Process(
        target=killed_in_write, args=(tmp_path, 3 + file, torch.get_num_threads())
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert files.read_json(tmp_path / checkpoint.MANIFEST)["epoch"] == 1
    again, resumed = losses(4, tmp_path)
    assert again == whole[1:]
    assert torch.equal(resumed, weights)


def test_a_checkpoint_that_cannot_be_written_ends_the_training_with_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def full(path: Path, *_: Any, **__: Any) -> None:
        threads.append(threading.current_thread())
        raise StorageError(f"{path}: cannot be written; check space and permissions")

    monkeypatch.setattr(files, "write_bytes", full)
    for epochs in (1, 3):  # told at the end, and by the next epoch
        with pytest.raises(StorageError, match=r"0001-model\.safetensors: cannot be written; check space"):
            losses(epochs, tmp_path)
    assert threading.main_thread() not in threads
    assert len(threads) == 2


def test_an_error_of_the_training_comes_before_that_of_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise StorageError("full")

    monkeypatch.setattr(files, "write_bytes", full)

    def report(_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train(trial(), photos(), Worker(), weights="random", report=report, folder=tmp_path)


def test_training_goes_on_while_a_checkpoint_is_written_and_none_is_begun_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()
    write = checkpoint.Snapshot.write
    written = []

    def slow(snapshot: checkpoint.Snapshot, folder: Path) -> None:
        assert may_write.wait(60)
        write(snapshot, folder)
        written.append(
            (
                snapshot.told["epoch"],
                [one.ravel()[0].item() for one in snapshot.weights["model.safetensors"].values()],
            )
        )

    monkeypatch.setattr(checkpoint.Snapshot, "write", slow)
    one = training(0)
    first = one.model.weight[0, 0].item()
    with checkpoint.Saver(tmp_path, 1e-9) as saver:
        for epoch in (1, 2, 3):
            saver.offer(one, epoch=epoch, last=False)
            with torch.no_grad():
                one.model.weight.add_(1.0)  # of the next epoch, and not of the one that is written
        may_write.set()
        saver.offer(one, epoch=4, last=True)
    assert [epoch for epoch, _ in written] == [1, 4]
    assert written[0][1][0] == first
    assert written[1][1][0] == pytest.approx(first + 3)


def test_training_waits_for_checkpoints_for_a_twentieth_of_its_time_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy takes 6 s, so the next is due 120 s later, though 30 s were asked for."""
    now = [0.0]
    written: list[tuple[float, int]] = []

    class Copied(checkpoint.Snapshot):
        def write(self, folder: Path) -> None:
            written.append((now[0], self.told["epoch"]))

    def take(_: Any, *, epoch: int) -> checkpoint.Snapshot:
        now[0] += 6
        return Copied({}, None, {"epoch": epoch})

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint.Snapshot, "take", take)
    saver = checkpoint.Saver(tmp_path, 30.0)
    for epoch, now[0] in enumerate((29.0, 30.0, 66.0, 155.0, 156.0), 1):
        saver.offer(training(0), epoch=epoch, last=False)
        saver._thread.submit(int).result()  # the thread is through with it
    assert written == [(36.0, 2), (162.0, 5)]


def test_checkpoints_are_written_no_more_often_than_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    monkeypatch.setattr(checkpoint.Snapshot, "write", lambda self, _: saved.append(self.told["epoch"]))
    losses(3, tmp_path, checkpoint_every_s=3600.0)
    losses(3, tmp_path)
    assert saved == [3, 1, 2, 3]


def test_what_patience_ended_keeps_its_weights_alone(tmp_path: Path) -> None:
    """Where it goes on there are weights and momentum, twice as much."""
    one = training(0)
    one.model(torch.ones(2, 6)).sum().backward()
    one.optimizer.step()
    checkpoint.Snapshot.take(one, epoch=3).write(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"0003-{checkpoint.MODEL}", f"0003-{checkpoint.STATE}", checkpoint.MANIFEST}
    impatient = checkpoint.Training(
        one.trial.model_copy(update={"patience": 1}), one.model, one.optimizer, one.schedule, one.selection
    )
    impatient.selection.trial, impatient.selection.stale = impatient.trial, 1
    checkpoint.Snapshot.take(impatient, epoch=4).write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {f"0004-{checkpoint.MODEL}", checkpoint.MANIFEST}
    assert checkpoint.resume(tmp_path, impatient) == 4
    assert impatient.selection.stop

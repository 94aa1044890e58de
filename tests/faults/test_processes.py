"""Processes that are killed or stopped while they work: what was finished stays."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty import Record, ended, forked
from training_runs import EPOCHS, digest_of, train_to_the_end

from reid_ray.errors import StorageError
from reid_ray.runs.lock import only_one
from reid_ray.runs.methods import MethodFolder, Result


def _finish(root: Path, number: int) -> None:
    key = f"{number:016x}"
    result = Result(key, "m", "trial", "ArcFace", "z", metrics={"seen/top1": number / 1000})
    table = pd.DataFrame({"query": [f"q{i}" for i in range(30)], "score": float(number)})
    MethodFolder(root / key).finish(result, table)


def _announce(root: Path, pipe: int) -> None:
    for number in range(1000):
        _finish(root, number)
        os.write(pipe, number.to_bytes(2, "big"))


def test_a_killed_writer_leaves_whole_results_or_none(
    tmp_path: Path, rng: np.random.Generator, record: Record
) -> None:
    tries, lost = 10, 0
    for attempt in range(tries):
        root = tmp_path / str(attempt)
        reading, writing = os.pipe()
        with forked(lambda root=root, writing=writing: _announce(root, writing)) as child:
            assert os.read(reading, 2) == b"\0\0"
            time.sleep(float(rng.uniform(0, 0.1)))
            os.kill(child, signal.SIGKILL)
            ended(child)
        os.close(writing)
        announced = 1 + len(os.read(reading, 4000)) // 2
        os.close(reading)
        finished = [number for number in range(1000) if MethodFolder(root / f"{number:016x}").finished()]
        # The last one may have been written and not yet announced.
        assert finished in (list(range(announced)), list(range(announced + 1)))
        for number in finished:
            folder = MethodFolder(root / f"{number:016x}")
            assert folder.result().metrics == {"seen/top1": number / 1000}
            answers = folder.predictions()
            assert answers is not None
            assert answers["score"].tolist() == [number] * 30
        lost += announced - min(announced, len(finished))
    record(
        "SIGKILL of a process that writes results",
        "at a random time",
        tried=tries,
        survived=tries,
        trials=lost,
    )


@pytest.fixture(scope="module")
def server() -> multiprocessing.context.ForkServerContext:
    """Forks of a process that has loaded torch and never used it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_runs"])
    return context


@pytest.fixture(scope="module")
def undisturbed(
    server: multiprocessing.context.ForkServerContext, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[float], float]:
    """Weights and losses of a training that nobody disturbs, and how long it takes."""
    folder = tmp_path_factory.mktemp("whole") / "m"
    began = time.monotonic()
    process = server.Process(target=train_to_the_end, args=(str(folder),))
    process.start()
    process.join()
    assert process.exitcode == 0
    losses = [row["loss"] for row in MethodFolder(folder).history()]
    return digest_of(folder), losses, time.monotonic() - began


def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(
    server: multiprocessing.context.ForkServerContext,
    undisturbed: tuple[str, list[float], float],
    tmp_path: Path,
    rng: np.random.Generator,
    record: Record,
) -> None:
    weights, losses, whole_s = undisturbed
    folder = MethodFolder(tmp_path / "m")
    kills = 0
    while True:
        process = server.Process(target=train_to_the_end, args=(str(folder.path),))
        process.start()
        process.join(float(rng.uniform(0.3, 0.8)) * whole_s if kills < 3 else None)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0
    assert digest_of(folder.path) == weights
    assert [row["loss"] for row in folder.history()] == losses
    written = [line for line in folder.history_path.read_text().splitlines() if line]
    again = len(written) - EPOCHS
    assert 0 <= again <= kills  # at most the epoch whose checkpoint was under way
    record(
        "SIGKILL of a training process",
        f"{kills} times in one training, at random times",
        tried=max(1, kills),
        survived=max(1, kills),
        epochs=again + kills,
        trials=0,
    )


def test_a_training_that_is_stopped_and_let_go_on_is_the_same(
    server: multiprocessing.context.ForkServerContext,
    undisturbed: tuple[str, list[float], float],
    tmp_path: Path,
    rng: np.random.Generator,
    record: Record,
) -> None:
    weights, losses, whole_s = undisturbed
    folder = MethodFolder(tmp_path / "m")
    process = server.Process(target=train_to_the_end, args=(str(folder.path),))
    process.start()
    stops = 0
    while process.exitcode is None and stops < 3:
        process.join(float(rng.uniform(0.1, 0.3)) * whole_s)
        if process.exitcode is None and process.pid:
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.3)
            os.kill(process.pid, signal.SIGCONT)
            stops += 1
    process.join()
    assert (digest_of(folder.path), [row["loss"] for row in folder.history()]) == (weights, losses)
    record(
        "SIGSTOP of a training process",
        "then SIGCONT, at random times",
        tried=stops,
        survived=stops,
        epochs=0,
        trials=0,
    )


def _hold(study: Path, pipe: int) -> None:
    with only_one(study):
        os.write(pipe, b"x")
        time.sleep(600)


def test_a_second_start_is_refused_until_the_first_has_ended(tmp_path: Path, record: Record) -> None:
    study = tmp_path / "study"
    reading, writing = os.pipe()
    with forked(lambda: _hold(study, writing)) as child:
        os.read(reading, 1)
        for sign in (signal.SIGCONT, signal.SIGSTOP):  # at work, and stopped
            os.kill(child, sign)
            with pytest.raises(StorageError, match=f"is being run already, by process {child} on"):
                only_one(study).__enter__()
        os.kill(child, signal.SIGKILL)
        ended(child)
    with only_one(study), only_one(tmp_path / "other"):
        pass
    with only_one(study):
        pass
    record(
        "a second start of a study that runs",
        "beside a running and a SIGSTOPped first one",
        tried=2,
        survived=2,
        trials=0,
        doubled=0,
    )
    record(
        "a study's process SIGKILLed while it holds the study", "then a start", tried=1, survived=1, trials=0
    )

"""The ledger as a machine: written, lost and damaged in any order, it never tells a wrong result."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reid_ray.runs.methods import MethodFolder, Result

KEYS = [f"{number:016x}" for number in range(3)]
EPOCHS = st.integers(1, 4)


class Crash(BaseException):
    """Stands for the end of the process: nothing is tidied up, as nothing catches it."""


class _Dying:
    """Lets so many steps to the disk happen, and then no more."""

    def __init__(self, patch: pytest.MonkeyPatch, steps: int) -> None:
        self.left = steps
        patch.setattr(os, "fsync", self._step(os.fsync))
        patch.setattr(Path, "replace", self._step(Path.replace))

    def _step(self, done: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            if self.left <= 0:
                raise Crash
            self.left -= 1
            return done(*arguments)

        return step


def answers(number: int) -> pd.DataFrame:
    return pd.DataFrame({"query": ["a", "b"], "score": [float(number), 1.0]})


class Ledger(RuleBasedStateMachine):
    """`results` and `answers` are what was last put in place whole; both must agree to count."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="ledger"))
        self.results: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        self.epochs: dict[str, dict[int, float]] = {key: {} for key in KEYS}

    def teardown(self) -> None:
        shutil.rmtree(self.root)

    def folder(self, key: str) -> MethodFolder:
        """Opened anew each time, as by another start."""
        return MethodFolder(self.root / key)

    def told(self) -> dict[str, int]:
        """What each finished method must say."""
        both = self.results.items()
        return {key: number for key, number in both if self.answers.get(key) == number}

    def _result(self, key: str, number: int) -> Result:
        return Result(key, "m", "trial", "ArcFace", "z", metrics={"seen/top1": float(number)})

    @rule(key=st.sampled_from(KEYS), number=st.integers(0, 3))
    def finish(self, key: str, number: int) -> None:
        self.folder(key).finish(self._result(key, number), answers(number))
        self.results[key] = self.answers[key] = number

    @rule(key=st.sampled_from(KEYS), number=st.integers(0, 3), steps=st.integers(0, 3))
    def die_while_finishing(self, key: str, number: int, steps: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            _Dying(patch, steps)
            with pytest.raises(Crash):
                self.folder(key).finish(self._result(key, number), answers(number))
        if steps >= 2:  # the new answers are in place, for which the old result does not vouch
            self.answers[key] = number

    @rule(key=st.sampled_from(KEYS))
    def forget(self, key: str) -> None:
        self.folder(key).forget()
        self.results.pop(key, None)

    @rule(
        key=st.sampled_from(KEYS),
        place=st.integers(0, 10**6),
        bit=st.integers(0, 7),
        name=st.sampled_from(["result.json", "predictions.parquet"]),
    )
    def damage(self, key: str, place: int, bit: int, name: str) -> None:
        path = self.root / key / name
        if path.exists():
            data = bytearray(path.read_bytes())
            data[place % len(data)] ^= 1 << bit
            path.write_bytes(bytes(data))
            if not self.folder(key).finished():  # if it is, the invariant says that it is right
                self.forget(key)

    @rule(key=st.sampled_from(KEYS), epoch=EPOCHS, loss=st.floats(0, 9))
    def report_epoch(self, key: str, epoch: int, loss: float) -> None:
        self.folder(key).append_history({"epoch": epoch, "loss": loss})
        self.epochs[key][epoch] = loss

    @rule(key=st.sampled_from(KEYS), cut=st.integers(1, 20))
    def die_while_reporting(self, key: str, cut: int) -> None:
        folder = self.folder(key)
        folder.path.mkdir(parents=True, exist_ok=True)
        with folder.history_path.open("a") as file:
            file.write('\n{"epoch": 2, "loss": 0.5}'[:cut])

    @invariant()
    def what_is_told_is_what_was_written(self) -> None:
        told = self.told()
        for key in KEYS:
            folder = self.folder(key)
            assert folder.finished() == (key in told)
            if key in told:
                assert folder.result() == self._result(key, told[key])
                found = folder.predictions()
                assert found is not None
                pd.testing.assert_frame_equal(found, answers(told[key]))

    @invariant()
    def each_epoch_is_there_once(self) -> None:
        for key in KEYS:
            expected = [{"epoch": e, "loss": loss} for e, loss in sorted(self.epochs[key].items())]
            assert self.folder(key).history() == expected


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)

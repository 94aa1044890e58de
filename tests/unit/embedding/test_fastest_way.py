"""The way that is fastest on a card is found, leaves no trace, and is the same after a resume."""

import math
from pathlib import Path

import pytest
import torch
from tiny_training import photos, trial

from reid_ray.config.training import Trial
from reid_ray.embedding import calibration, loop
from reid_ray.embedding.backbones import build
from reid_ray.embedding.calibration import Way, calibrated
from reid_ray.embedding.context import Worker
from reid_ray.embedding.model import ReidModel

CARD = Worker(device=torch.device("cuda"))  # none is touched: what takes how long is told below
LAST, LAST_COMPILED = Way(channels_last=True), Way(channels_last=True, compiled=True)
PLAIN, COMPILED = Way(), Way(compiled=True)
HOURS = 10**6
"""Steps of a training that takes hours."""


def model(setting: Trial) -> ReidModel:
    torch.manual_seed(0)
    return ReidModel(setting, build(setting.backbone, weights="random", input_px=32), classes=4)


def chosen(
    took: dict[Way, float], monkeypatch: pytest.MonkeyPatch, *, steps: int = HOURS, **changes: object
) -> tuple[Way, list[Way]]:
    """What is chosen where ways take so many seconds, and what was tried for it."""
    tried = []

    def seconds(_: Trial, __: Worker, ___: ReidModel, way: Way, photos: int) -> float:
        assert photos == 8
        tried.append(way)
        return took[way]

    monkeypatch.setattr(calibration, "_seconds", seconds)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    setting = trial(**{"compile": "auto", **changes})
    return calibrated(setting, CARD, model(setting), photos=8, steps=steps), tried


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        ({LAST: 0.1, PLAIN: 0.2, LAST_COMPILED: 0.05}, LAST_COMPILED),
        ({LAST: 0.1, PLAIN: 0.2, LAST_COMPILED: 0.11}, LAST),
        ({LAST: 0.2, PLAIN: 0.1, COMPILED: 0.09}, COMPILED),
        ({LAST: 0.2, PLAIN: 0.1, COMPILED: math.inf}, PLAIN),
    ],
)
def test_the_fastest_way_is_taken(
    took: dict[Way, float], expected: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(took, monkeypatch)[0] == expected
    assert torch.backends.cudnn.benchmark


def test_a_training_that_is_shorter_than_twenty_times_compiling_is_not_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps of 0.1 s: 24 000 are 40 minutes, of which 2 are a twentieth."""
    took = {LAST: 0.1, PLAIN: 0.2, LAST_COMPILED: 0.01}
    assert chosen(took, monkeypatch, steps=23_990) == (LAST, [LAST, PLAIN])
    assert chosen(took, monkeypatch, steps=24_010)[0] == LAST_COMPILED
    assert chosen(took, monkeypatch, steps=499) == (LAST, [])


def test_what_the_config_decides_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    took = {LAST: 0.1, PLAIN: 0.2}
    assert chosen(took, monkeypatch, compile=False) == (LAST, [LAST, PLAIN])
    assert chosen(took, monkeypatch, compile=True) == (LAST_COMPILED, [LAST, PLAIN])


def test_a_look_leaves_the_model_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    setting = trial(backbone="test_resnet")  # with BatchNorm, whose statistics a pass in training changes
    fresh, one = model(setting), model(setting)
    plain = calibration._seconds(setting, Worker(), one, LAST, 4)
    Way().take(one)
    assert 0 < plain < math.inf
    for (name, before), after in zip(fresh.state_dict().items(), one.state_dict().values(), strict=True):
        assert torch.equal(before, after), name
    assert all(parameter.grad is None for parameter in one.parameters())

    def fails(*_: object) -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(one.encoder, "forward", fails)
    assert calibration._seconds(setting, Worker(), one, COMPILED, 4) == math.inf
    with pytest.raises(RuntimeError, match="no C"):
        calibration._seconds(setting, Worker(), one, PLAIN, 4)


def test_a_resumed_training_is_computed_as_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    def report(row: dict[str, float]) -> None:
        if row["epoch"] == 1:
            raise Killed

    monkeypatch.setattr(loop, "calibrated", lambda *_, **__: LAST)
    with pytest.raises(Killed):
        loop.train(trial(), photos(), Worker(), weights="random", report=report, folder=tmp_path)
    monkeypatch.setattr(loop, "calibrated", lambda *_, **__: PLAIN)
    done = loop.train(trial(), photos(), Worker(), weights="random", report=lambda _: None, folder=tmp_path)
    assert done.way == LAST
    weights = next(w for w in done.model.parameters() if w.ndim == 4 and min(w.shape) > 1)
    assert weights.is_contiguous(memory_format=torch.channels_last)
    assert not weights.is_contiguous()

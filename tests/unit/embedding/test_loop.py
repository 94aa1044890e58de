"""Training: schedule, resume, which weights are kept, when it ends."""

import hashlib
import itertools
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.multiprocessing as mp
from tiny_training import ARCFACE, TRIPLET, photos, trial

from reid_ray.config.training import Augment, Loss, Trial
from reid_ray.embedding import checkpoint, loop
from reid_ray.embedding.backbones import Backbone
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import Diverged, Trained, train
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.step import backward
from reid_ray.embedding.validation import Row, Validation
from reid_ray.errors import ConfigError, StorageError


class Killed(Exception):
    """Stands for a SIGKILL at the end of an epoch."""


def run(
    setting: Trial,
    folder: Path | None = None,
    *,
    killed_after: int | None = None,
    validate: Callable[[Encoder], Row] = lambda _: {},
    validated: int = 0,
    rungs: frozenset[int] = frozenset(),
    worker: Worker | None = None,
) -> tuple[Trained, list[Row]]:
    rows: list[Row] = []

    def report(row: Row) -> None:
        rows.append(row)
        if row["epoch"] == killed_after:
            raise Killed

    done = train(
        setting,
        photos(),
        worker or Worker(),
        weights="random",
        report=report,
        validation=Validation(validate, validated, rungs),
        folder=folder,
    )
    return done, rows


def weights(done: Trained) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(done.model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def scores(*values: float) -> Callable[[Encoder], Row]:
    """Validation that gives these figures in turn."""
    given = iter(values)
    return lambda _: {"val/top1": next(given)}


def test_the_learning_rate_is_a_cosine_per_epoch_down_to_a_thousandth() -> None:
    setting = trial(epochs=6, lr=0.02)
    _, rows = run(setting)
    expected = [
        0.02 * 1e-3 + (0.02 - 0.02 * 1e-3) * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in range(6)
    ]
    assert [row["lr"] for row in rows] == pytest.approx(expected, rel=1e-9)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("loss", [ARCFACE, TRIPLET])
def test_training_lowers_the_loss(loss: Loss) -> None:
    _, rows = run(trial(loss, epochs=8, lr=0.001, augment=Augment(ops=0)))
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]


@pytest.mark.parametrize("cpus", [1, 2, 4])
def test_the_same_seed_gives_the_same_weights_with_any_number_of_threads(cpus: int) -> None:
    assert weights(run(trial())[0]) == weights(run(trial(), worker=Worker(cpus=cpus))[0])
    assert weights(run(trial())[0]) != weights(run(trial(seed=1))[0])


@pytest.mark.parametrize("loss", [ARCFACE, TRIPLET])
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_run_ends_with_the_weights_and_figures_of_an_undisturbed_one(
    killed_after: int, loss: Loss, tmp_path: Path
) -> None:
    setting = trial(loss, epochs=4, select="best")
    whole, rows = run(setting, validate=scores(0.2, 0.5, 0.3, 0.4))
    with pytest.raises(Killed):
        run(setting, tmp_path, killed_after=killed_after, validate=scores(0.2, 0.5, 0.3))
    left = [0.2, 0.5, 0.3, 0.4][killed_after:]
    resumed, later = run(setting, tmp_path, validate=scores(*left))
    assert weights(resumed) == weights(whole)
    assert (resumed.epoch, resumed.validation) == (2, {"val/top1": 0.5})
    timeless = [
        [{k: v for k, v in row.items() if k not in ("seconds", "input_wait")} for row in part]
        for part in (rows[killed_after:], later)
    ]
    assert timeless[0] == timeless[1]


def run_until_killed(setting: Trial, folder: Path, step: int, threads: int) -> None:
    """In a process of its own, which a SIGKILL ends in the middle of `step`, counted from 1."""
    torch.set_num_threads(threads)  # another number adds in another order
    steps = itertools.count(1)

    def killing(*arguments: Any, **named: Any) -> torch.Tensor:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return backward(*arguments, **named)

    loop.backward = killing  # type: ignore[attr-defined]
    run(setting, folder)


@pytest.mark.slow
def test_a_run_killed_in_any_step_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    setting = trial(epochs=5)  # of two steps each
    whole, rows = run(setting)
    step = int(np.random.default_rng().integers(1, 11))
    process = mp.get_context("spawn").Process(
        target=run_until_killed, args=(setting, tmp_path, step, torch.get_num_threads())
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    resumed, later = run(setting, tmp_path)
    assert weights(resumed) == weights(whole), step
    done = (step - 1) // 2  # whole epochs, of the last of which the checkpoint may have been under way
    assert 5 - done <= len(later) <= 6 - done, step
    assert [row["loss"] for row in later] == [row["loss"] for row in rows[5 - len(later) :]], step


def test_a_resumed_run_drops_the_same_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_drop_path(*_: object, **__: object) -> Backbone:
        module = timm.create_model("test_convnext2", num_classes=0, drop_path_rate=0.5)
        return Backbone(module, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "random")

    monkeypatch.setattr(loop.backbones, "build", with_drop_path)
    whole, _ = run(trial(epochs=3))
    with pytest.raises(Killed):
        run(trial(epochs=3), tmp_path, killed_after=1)
    torch.rand(5)  # another process has drawn otherwise
    resumed, _ = run(trial(epochs=3), tmp_path)
    assert weights(resumed) == weights(whole)


def test_a_run_killed_after_its_last_epoch_trains_no_more(tmp_path: Path) -> None:
    whole, _ = run(trial(), tmp_path, validate=scores(0.1, 0.2))
    again, rows = run(trial(), tmp_path)
    assert rows == []
    assert weights(again) == weights(whole)
    assert again.validation == {"val/top1": 0.2}


@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "missing"])
@pytest.mark.parametrize("file", [checkpoint.MODEL, checkpoint.STATE])
def test_a_damaged_checkpoint_is_not_used(file: str, damage: str, tmp_path: Path) -> None:
    setting = trial(epochs=3)
    whole, _ = run(setting)
    with pytest.raises(Killed):
        run(setting, tmp_path, killed_after=2)
    (path,) = tmp_path.glob(f"*-{file}")
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes({"flipped": data, "truncated": data[:-9], "empty": b""}[damage])
    with pytest.raises(StorageError, match=r"damaged|cannot be read"):
        checkpoint.load_weights(tmp_path, whole.model)
    again, rows = run(setting, tmp_path)
    assert len(rows) == 3
    assert weights(again) == weights(whole)


@pytest.mark.parametrize("manifest", ["", "{", "[]", "{}", json.dumps({"trial": "x", "epoch": 9})])
def test_a_damaged_manifest_is_not_used(manifest: str, tmp_path: Path) -> None:
    run(trial(), tmp_path)
    (tmp_path / checkpoint.MANIFEST).write_text(manifest)
    assert len(run(trial(), tmp_path)[1]) == 2


def test_a_checkpoint_of_another_trial_is_refused(tmp_path: Path) -> None:
    run(trial(), tmp_path)
    with pytest.raises(StorageError, match="another trial"):
        run(trial(lr=0.06), tmp_path)


def test_weights_for_another_architecture_are_refused(tmp_path: Path) -> None:
    run(trial(), tmp_path)
    other, _ = run(trial(backbone="test_efficientnet_gn", epochs=1))
    with pytest.raises(StorageError, match="another architecture"):
        checkpoint.load_weights(tmp_path, other.model)


def test_an_old_checkpoint_leaves_no_files_behind(tmp_path: Path) -> None:
    run(trial(epochs=3, select="best"), tmp_path, validate=scores(0.1, 0.2, 0.1))
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.MANIFEST, f"0003-{checkpoint.MODEL}"}


def test_a_training_that_goes_on_keeps_all_it_needs_and_an_ended_one_its_weights(tmp_path: Path) -> None:
    setting = trial(epochs=3, select="best")
    with pytest.raises(Killed):
        run(setting, tmp_path, killed_after=2, validate=scores(0.1, 0.2))
    files = [f"0002-{name}" for name in (checkpoint.CHOSEN, checkpoint.MODEL, checkpoint.STATE)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [*files, checkpoint.MANIFEST]
    before = sum(path.stat().st_size for path in tmp_path.iterdir())
    done, _ = run(setting, tmp_path, validate=scores(0.1))
    assert done.epoch == 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < before / 2
    again, rows = run(setting, tmp_path)
    assert (rows, weights(again)) == ([], weights(done))


def test_by_default_the_last_weights_are_kept() -> None:
    done, _ = run(trial(epochs=3), validate=scores(0.9, 0.5, 0.1))
    assert (done.epoch, done.validation) == (3, {"val/top1": 0.1})


def test_the_best_weights_are_those_of_the_earliest_best_epoch(tmp_path: Path) -> None:
    seen: list[torch.Tensor] = []

    def look(encoder: Encoder) -> Row:
        seen.append(next(encoder.parameters()).detach().clone())
        return {"val/top1": [0.1, 0.6, 0.6, 0.2][len(seen) - 1]}

    done, _ = run(trial(epochs=4, select="best"), tmp_path, validate=look)
    assert (done.epoch, done.validation) == (2, {"val/top1": 0.6})
    assert torch.equal(next(done.model.encoder.parameters()), seen[1])
    last, _ = run(trial(epochs=4))
    checkpoint.load_weights(tmp_path, last.model)
    assert torch.equal(next(last.model.encoder.parameters()), seen[1])


def test_without_a_validation_slice_the_best_weights_are_the_last() -> None:
    assert weights(run(trial(select="best"))[0]) == weights(run(trial())[0])


def test_training_stops_when_patience_ends_and_stays_so(tmp_path: Path) -> None:
    setting = trial(epochs=9, patience=2, select="best")
    done, rows = run(setting, tmp_path, validate=scores(0.1, 0.3, 0.3, 0.2, 0.9))
    assert (len(rows), done.epoch) == (4, 2)
    again, rows = run(setting, tmp_path)
    assert rows == []
    assert weights(again) == weights(done)


def test_validation_comes_every_few_epochs_and_after_the_last() -> None:
    _, rows = run(trial(epochs=5, validate_every=2), validate=scores(0.1, 0.2, 0.3))
    assert [row["epoch"] for row in rows if "val/top1" in row] == [2, 4, 5]


@pytest.mark.parametrize(
    ("validated", "expected"),
    [
        (0, [1, 2, 3, 4, 5, 6, 7]),
        (4, [1, 2, 3, 4, 5, 6, 7]),  # 4 forward passes beside 16 x 3: a twelfth
        (5, [2, 4, 6, 7]),  # more than a tenth, so every second epoch
        (20, [5, 7]),  # 20 / 48 / 0.1 = 4.2
        (48, [7]),
    ],
)
def test_validation_takes_a_tenth_of_the_training_by_count(validated: int, expected: list[int]) -> None:
    """Of 16 photos an epoch, each of which costs three forward passes."""
    _, rows = run(trial(epochs=7), validate=lambda _: {"val/top1": 0.5}, validated=validated)
    assert [row["epoch"] for row in rows if "val/top1" in row] == expected


def test_a_search_gets_its_figures_and_they_choose_nothing() -> None:
    """Trials of one key are the same training with and without a search: of 3, 6 and 7 epochs, 3 is best."""
    setting = trial(epochs=7, validate_every=3, select="best", patience=2)
    done, rows = run(setting, validate=scores(0.95, 0.99, 0.5, 0.99, 0.3, 0.4), rungs=frozenset({1, 2, 5}))
    assert [row["epoch"] for row in rows if "val/top1" in row] == [1, 2, 3, 5, 6, 7]
    assert (done.epoch, done.validation) == (3, {"val/top1": 0.5})


def test_a_loss_that_is_no_number_ends_the_trial_as_diverged() -> None:
    with pytest.raises(Diverged, match="epoch 1"):
        run(trial(lr=1e30))


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple of 3"):
        run(trial(accumulation=3))


def test_training_compiled_gives_the_same_weights_under_the_same_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile_ = torch.nn.Module.compile
    # Tracing alone: the same kernels, and no C++ compiler needed.
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compile_(module, backend="aot_eager"))
    compiled, plain = run(trial(epochs=1, compile=True))[0], run(trial(epochs=1))[0]
    for (name, ours), (other, theirs) in zip(
        compiled.model.state_dict().items(), plain.model.state_dict().items(), strict=True
    ):
        assert name == other
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_bf16_trains_near_fp32() -> None:
    losses = [run(trial(precision=kind))[1][-1]["loss"] for kind in ("fp32", "bf16")]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)

"""Files that were damaged on the disk, at random places: read as written, or made again."""

import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from faulty import Record
from PIL import Image
from torch import nn

from reid_ray.config.datasets import Images
from reid_ray.config.training import ArcFace, Trial
from reid_ray.datasets.store import PreparedStore, Row
from reid_ray.embedding import checkpoint
from reid_ray.embedding.selection import Selection
from reid_ray.embedding.vectors import VectorStore
from reid_ray.errors import StorageError
from reid_ray.matching.features import Features
from reid_ray.matching.kept import kept_scores
from reid_ray.on_ray.actors import resumable as chunks
from reid_ray.runs import files, seals
from reid_ray.runs.methods import MethodFolder, Result
from reid_ray.runs.study import StudyFolder

TRIES = 12


@dataclass(frozen=True)
class Kept:
    """Something on disk: how it is written, and read as plain data; None: it counts as not there."""

    write: Callable[[Path], None]
    read: Callable[[Path], Any]


def _result(key: str) -> Result:
    figures = {"seen/top1": 0.7251, "seen/mAP": 0.1875}
    return Result(key, "m", "trial", "ArcFace", "zebra", metrics=figures, params={"lr": 0.1})


def _write_method(root: Path) -> None:
    folder = MethodFolder(root / "0123456789abcdef")
    table = pd.DataFrame({"query": [f"q{i}" for i in range(40)], "score": np.linspace(0, 1, 40)})
    folder.finish(_result("0123456789abcdef"), table)


def _read_method(root: Path) -> Any:
    folder = MethodFolder(root / "0123456789abcdef")
    if not folder.finished():
        return None
    predictions = folder.predictions()
    return folder.result(), None if predictions is None else predictions.to_dict("list")


def _write_study(root: Path) -> None:
    folder = StudyFolder(root)
    files.write_table(folder.rows_path, pd.DataFrame({"key": ["a", "b"], "identity": ["1", "2"]}))
    files.write_table(folder.quarantine_path, pd.DataFrame({"path": ["x"]}))
    study = {"name": "s", "methods": [], "started_at": 1.5, "rows_sha256": folder.rows_sha256()}
    files.write_json(folder.study_path, seals.sealed(study))
    folder.quarantine_path.rename(root.parent / "quarantine.parquet")  # has no figures in it


def _read_study(root: Path) -> Any:
    folder = StudyFolder(root)
    files.write_table(folder.quarantine_path, pd.DataFrame({"path": ["x"]}))
    record = folder.load()
    folder.quarantine_path.unlink()
    return record.study, record.rows.to_dict("list")


def _training() -> checkpoint.Training:
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    loss = ArcFace(name="arcface", margin_rad=0.25, scale=16.0)
    trial = Trial(backbone="test_resnet", loss=loss, lr=0.1, epochs=9)
    return checkpoint.Training(trial, model, optimizer, schedule, Selection(trial))


def _write_checkpoint(root: Path) -> None:
    training = _training()
    training.model(torch.ones(2, 6)).sum().backward()
    training.optimizer.step()
    checkpoint.Snapshot.take(training, epoch=3).write(root)


def _read_checkpoint(root: Path) -> Any:
    training = _training()
    epoch = checkpoint.resume(root, training)
    if epoch == 0:
        return None
    momentum = [state["momentum_buffer"].tolist() for state in training.optimizer.state.values()]
    return epoch, [value.tolist() for value in training.model.state_dict().values()], momentum


ARRAYS = {"keys": np.arange(12).reshape(3, 4), "scores": np.linspace(0, 1, 9, dtype=np.float32)}


def _write_features(root: Path) -> None:
    rng = np.random.default_rng(0)
    Features(
        offsets=np.array([0, 3, 9]),
        sizes_px=np.array([[64, 80], [64, 70]], np.int32),
        points_xy=rng.random((9, 2), np.float32),
        scales=rng.random(9, np.float32),
        responses=rng.random(9, np.float32),
        descriptors=rng.integers(0, 256, (9, 128), dtype=np.uint8),
    ).save(root / "a.npz")


def _read_features(root: Path) -> Any:
    return {name: value.tolist() for name, value in vars(Features.load(root / "a.npz")).items()}


class Made(Exception):
    """They were not found and would be made."""


def _scores(root: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    return kept_scores(root, "block", (4, 5), make)


def _write_scores(root: Path) -> None:
    _scores(root, lambda: np.random.default_rng(0).random((4, 5), np.float32))


def _read_scores(root: Path) -> Any:
    def make() -> np.ndarray:
        raise Made

    try:
        return _scores(root, make).tolist()
    except Made:
        return None


def _store(root: Path) -> tuple[PreparedStore, list[Row]]:
    photo = root.parent / "photo.png"
    if not photo.exists():
        noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(photo)
    store = PreparedStore(root, Images(short_px=32))
    return store, [Row(str(root.parent), "photo.png", None)]


def _write_photos(root: Path) -> None:
    store, rows = _store(root)
    store.prepare(rows, store.index())


def _read_photos(root: Path) -> Any:
    store, rows = _store(root)
    placed = store.prepare(rows, store.index())
    return store.open(placed)[0].tolist()


def _write_vectors(root: Path) -> None:
    VectorStore(root).add([b"k" * 16, b"l" * 16], np.linspace(0, 1, 8, dtype=np.float32).reshape(2, 4))


def _read_vectors(root: Path) -> Any:
    found = VectorStore(root).read([b"l" * 16, b"k" * 16])
    return None if found is None else found.tolist()


KEPT = {
    "a result and its answers": Kept(_write_method, _read_method),
    "the study and its table": Kept(_write_study, _read_study),
    "a checkpoint": Kept(_write_checkpoint, _read_checkpoint),
    "a chunk of matches": Kept(
        lambda root: chunks._write(root / "a.npz", ARRAYS),
        lambda root: (
            (found := chunks._read(root / "a.npz"))
            and {name: array.tolist() for name, array in found.items()}
        ),
    ),
    "features": Kept(_write_features, _read_features),
    "scores for a fusion": Kept(_write_scores, _read_scores),
    "prepared photos": Kept(_write_photos, _read_photos),
    "vectors": Kept(_write_vectors, _read_vectors),
}


def _flip(path: Path, rng: np.random.Generator) -> None:
    data = bytearray(path.read_bytes())
    data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(data))


def _cut(path: Path, rng: np.random.Generator) -> None:
    os.truncate(path, int(rng.integers(path.stat().st_size)))


def _zero(path: Path, rng: np.random.Generator) -> None:
    """As a file system leaves pages that never reached the disk."""
    data = bytearray(path.read_bytes())
    at = int(rng.integers(len(data)))
    data[at : at + 64] = bytes(len(data[at : at + 64]))
    path.write_bytes(bytes(data))


def _scribble(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(rng.bytes(int(rng.integers(1, 4096))))


DAMAGES = {
    "a flipped bit": _flip,
    "a file cut short": _cut,
    "zeros in place of data": _zero,
    "another file's content": _scribble,
    "a lost file": lambda path, _: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_wherever_it_is(
    damage: str, tmp_path: Path, rng: np.random.Generator, record: Record
) -> None:
    noticed = 0
    for name, kept in KEPT.items():
        for number in range(TRIES):
            root = tmp_path / name.replace(" ", "-") / str(number) / "kept"
            root.mkdir(parents=True)
            kept.write(root)
            whole = kept.read(root)
            assert whole is not None
            there = sorted(path for path in root.rglob("*") if path.is_file())
            spoilt = there[int(rng.integers(len(there)))]
            before = spoilt.read_bytes()
            DAMAGES[damage](spoilt, rng)
            try:
                found = kept.read(root)
            except StorageError:
                found = None
            changed = not spoilt.exists() or spoilt.read_bytes() != before
            assert found in (None, whole), (name, spoilt.name)
            noticed += found is None or name == "prepared photos" or not changed
    assert noticed > len(KEPT)
    how = "random file and place of each kind that is kept; what was hit is made again"
    record(damage, how, tried=len(KEPT) * TRIES, survived=len(KEPT) * TRIES)


def test_a_damaged_history_loses_no_more_than_the_lines_that_were_hit(
    tmp_path: Path, rng: np.random.Generator, record: Record
) -> None:
    for number in range(40):
        folder = MethodFolder(tmp_path / str(number))
        for epoch in range(1, 9):
            folder.append_history({"epoch": epoch, "loss": 1.0})
        for _ in range(3):
            _scribbled = bytearray(folder.history_path.read_bytes())
            _scribbled[int(rng.integers(len(_scribbled)))] = int(rng.integers(256))
            folder.history_path.write_bytes(bytes(_scribbled))
        rows = folder.history()
        assert sum(row == {"epoch": row["epoch"], "loss": 1.0} for row in rows) >= 8 - 2 * 3
    how = "three bytes of a file of eight epochs; no other line is lost"
    record("random bytes in a history", how, tried=40, survived=40)


def test_answers_of_an_earlier_start_are_not_taken_for_those_of_this_one(tmp_path: Path) -> None:
    """Killed between answers and result: the old result does not vouch for the new answers."""
    folder = MethodFolder(tmp_path / "0123456789abcdef")
    _write_method(tmp_path)
    buffer = io.BytesIO()
    pd.DataFrame({"query": ["other"]}).to_parquet(buffer)
    (folder.path / "predictions.parquet").write_bytes(buffer.getvalue())
    assert not folder.finished()
    told = json.loads((folder.path / "result.json").read_text())
    assert told["metrics"]["seen/top1"] == 0.7251

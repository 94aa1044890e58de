"""A small training with its method folder, for processes of their own. Imports torch, and does not use it."""

import hashlib
import sys
from pathlib import Path

from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "embedding"))
from tiny_training import photos, trial

from reid_ray.embedding.checkpoint import MANIFEST
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import train
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder

EPOCHS = 6


def train_to_the_end(folder: str) -> None:
    """From wherever the folder says."""
    method = MethodFolder(Path(folder))
    train(
        trial(epochs=EPOCHS),
        photos(4, 8),
        Worker(),
        weights="random",
        report=method.append_history,
        folder=method.checkpoint_path,
    )


def digest_of(folder: Path) -> str:
    """Of the weights in a training's last checkpoint, which has all its epochs."""
    checkpoint = folder / "checkpoint"
    manifest = files.read_json(checkpoint / MANIFEST)
    assert manifest["epoch"] == EPOCHS
    weights = load_file(checkpoint / manifest["files"]["model.safetensors"])
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()

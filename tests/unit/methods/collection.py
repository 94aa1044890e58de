"""A small collection of noisy photos, as rows, images and a bench of this process."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.methods.bench import InProcess
from reid_ray.methods.gallery import Gallery

ANIMALS, PHOTOS = 5, 6


def pictures(seed: int = 0) -> list[np.ndarray]:
    """Five animals, six noisy photos each."""
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(ANIMALS):
        coat = rng.integers(0, 256, (12, 14, 3), dtype=np.uint8)
        coat = cv2.resize(coat, (84, 72), interpolation=cv2.INTER_CUBIC)
        for _ in range(PHOTOS):
            images.append(np.clip(coat + rng.normal(0, 40, coat.shape), 0, 255).astype(np.uint8))
    return images


def table(**columns: object) -> pd.DataFrame:
    """Of each animal two photos are queries, one of the four references is for validation."""
    count = ANIMALS * PHOTOS
    number = np.arange(count)
    rows = pd.DataFrame(
        {
            "key": [f"one/{n}" for n in number],
            "image_id": [str(n) for n in number],
            "path": [f"{n}.jpg" for n in number],
            "root": "/photos",
            "identity": [f"animal-{n // PHOTOS}" for n in number],
            "dataset": "one",
            "group": "one",
            "domain": "seen",
            "split": np.where(number % 3 == 1, "query", "reference"),
            "validation": number % PHOTOS == 3,
            "content": [f"{n:04x}" for n in number],
        }
    )
    return rows.assign(**columns)


def bench(folder: Path) -> InProcess:
    return InProcess(PreparedImages.pack(iter(pictures())), folder)


def gallery_of(rows: pd.DataFrame) -> Gallery:
    references, queries = (np.flatnonzero(rows["split"] == part) for part in ("reference", "query"))
    return Gallery.of(rows, references, queries, name="one")

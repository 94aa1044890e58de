"""Measure whose votes count where backgrounds give animals away: the animal's or the background's.

    python benchmarks/background.py [--animals 24]

A synthetic collection whose photos are taken two at a time before one background, which is rich in texture,
as leaves and stones are: it is painted over the rendered one; half of each encounter is asked. LNBNN
(3 votes, plain distances). The share of an answer's votes that comes from outside the animal is known by
the masks; places are learnt on references alone. Prints a Markdown table.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Images, SyntheticDataset
from reid_ray.config.matching import Matching
from reid_ray.datasets.cutout import CROP, Row, painted
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.schema import KEYPOINTS
from reid_ray.datasets.store import PreparedStore
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.matching.engine import use_one_thread
from reid_ray.matching.lnbnn import lnbnn_block
from reid_ray.methods.bench import InProcess
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalFeatures, LocalScorer

LNBNN = {
    "extractor": {"kind": "sift", "root": True},
    "score": "lnbnn",
    "neighbours": [3],
    "distances": ["plain"],
}
PX = 192
WAYS = {
    "whole photo": ("full", "all", "off"),
    "whole photo, votes by place": ("full", "all", "auto"),
    "whole photo, keypoints on the animal": ("full", "mask", "off"),
    "mask": ("mask", "all", "off"),
    "mask, votes by place": ("mask", "all", "auto"),
}


def repaint(rows: pd.DataFrame, home: Path) -> None:
    """Put another texture behind the animals of each encounter, seen a little to the side in each photo."""
    for number, (_, part) in enumerate(rows.groupby("encounter")):
        rng = np.random.default_rng(number)
        small = rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)
        for path, mask in zip(part["path"], part["mask"], strict=True):
            photo, animal = cv2.imread(str(home / path)), cv2.imread(str(home / mask), cv2.IMREAD_GRAYSCALE)
            height, width = photo.shape[:2]
            wide = cv2.resize(small, (width + 40, height + 40), interpolation=cv2.INTER_CUBIC)
            x, y = rng.integers(0, 40, 2)
            behind = wide[y : y + height, x : x + width]
            share = (animal.astype(np.float32) / 255)[..., None]
            mixed = share * photo + (1 - share) * behind
            cv2.imwrite(str(home / path), mixed.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])


def outside(photo: NDArray[np.uint8], mask: Path, crop: str) -> NDArray[np.bool_]:
    """Where a prepared photo does not show the animal."""
    if crop == "mask":
        return painted(photo)
    animal = cv2.imread(str(mask), cv2.IMREAD_GRAYSCALE)
    size = photo.shape[1], photo.shape[0]
    return np.asarray(cv2.resize(animal, size, interpolation=cv2.INTER_NEAREST) < 128)


def measured(rows: pd.DataFrame, folder: Path, crop: str, keypoints: str, places: str) -> list[float]:
    """Shares (0..1): named rightly, rightly among other encounters, of votes for the answer from outside."""
    store = PreparedStore(folder / "prepared", Images(short_px=PX, crop=crop))
    placed = store.prepare([Row.of({**one, CROP: crop}) for one in rows.to_dict("records")], store.index())
    images: PreparedImages = store.open(placed)
    here = InProcess(images, folder)
    asked = rows.groupby("encounter").cumcount().to_numpy() % 2 == 1
    known, new = np.flatnonzero(~asked), np.flatnonzero(asked)
    gallery = Gallery.of(rows.assign(**{CROP: crop, KEYPOINTS: keypoints}), known, new, name="synthetic")
    config = Matching.parse({**LNBNN, "place_weights": places}, where="benchmark")
    ready = LocalFeatures(config).prepare([gallery], here)[0]
    scorer = ready.scorer
    assert isinstance(scorer, LocalScorer)
    right, afield, share = [], [], []
    for query in gallery.queries:
        packed, features = scorer.of(gallery, np.array([query]))
        assert features is not None
        row = int(gallery.photos[query])
        black = outside(images[row], Path(rows["root"][row]) / rows["mask"][row], crop)
        at = (features.points_xy / features.sizes_px[0] * black.shape[::-1]).astype(int)
        away = black[at[:, 1].clip(0, black.shape[0] - 1), at[:, 0].clip(0, black.shape[1] - 1)]
        weights = np.ones(len(away), np.float32) if packed.weights is None else packed.weights
        both = []
        for part in (weights, weights * away):
            looking = replace(packed, weights=part.astype(np.float32))
            both.append(lnbnn_block(looking, 0, 1, scorer.references.packed, [(3, "plain")])[0, 0])
        best = int(both[0].argmax())
        right.append(gallery.labels_g[best] == gallery.labels[query])
        share.append(both[1][best] / max(both[0][best], 1e-9))
        out = gallery.excluded(np.array([query]), encounter=True)
        other = scorer.scores(gallery, np.array([query]), [out]).scores[0, 0].argmax()
        afield.append(gallery.labels_g[other] == gallery.labels[query])
    return [float(np.mean(one)) for one in (right, afield, share)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--animals", type=int, default=24)
    given = parser.parse_args()
    use_one_thread()
    print("| looked at | named rightly % | among other encounters % | votes from the background % |")
    print("|---|---|---|---|")
    with TemporaryDirectory() as folder:
        made = SyntheticDataset(
            name="zebra", source="synthetic", species="zebra", identities=given.animals, photos=8, together=2
        )
        home = make_synthetic(Path(folder), made)
        rows = pd.read_csv(home / "metadata.csv", dtype=str, keep_default_na=False)
        rows = rows.assign(root=str(home), dataset="zebra")
        repaint(rows, home)
        for name, way in WAYS.items():
            cells = [f"{100 * one:.1f}" for one in measured(rows, Path(folder), *way)]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

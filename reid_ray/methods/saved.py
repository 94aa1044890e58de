"""Save a method with all that was chosen or fitted, and load it again without the study it comes from.

In: a method, what it has learnt. Out: a folder with `method.json`, weights as safetensors, and a sha256 of
each file. Nothing in it is ever executed.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.datasets import Images
from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import Matching, Sift
from reid_ray.config.models import KReciprocal
from reid_ray.embedding.encoding import Encoding
from reid_ray.errors import StorageError
from reid_ray.methods.embedding import Embedding
from reid_ray.methods.fusion import Fusing
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.ready import Learnt, Method
from reid_ray.methods.shortlist import Shortlisted
from reid_ray.runs import files, seals
from reid_ray.runs.storage import address

FILE = "method.json"
TRAINED_ON = "trained_on.txt"
ORDER = "order-{}.txt"
"""Contents of a gallery's references, in the order in which equal scores rank."""
VERSION = 1


@dataclass(frozen=True)
class SavedMethod:
    """A method that names animals.

    Attributes:
        images: how its photos are prepared.
        learnt: by fingerprint of a gallery.
        collections: name of the collection that each of these galleries was.
        orders: contents of each of these galleries' references, in the order in which equal scores rank.
        trained_on: contents of the photos that a network in it was trained on.
        about: what it is and how well it did, for people.
    """

    method: Method
    images: Images
    learnt: Mapping[str, Learnt] = field(default_factory=dict)
    collections: Mapping[str, str] = field(default_factory=dict)
    orders: Mapping[str, Sequence[str]] = field(default_factory=dict)
    trained_on: frozenset[str] = frozenset()
    about: Mapping[str, Any] = field(default_factory=dict)

    def gallery(
        self, rows: pd.DataFrame, references: Positions, queries: Positions, *, collection: str
    ) -> Gallery:
        """The gallery of these rows: one that it was fitted on has its name, and its order of references.

        Args:
            collection: name of any other gallery.
        """
        found = Gallery.of(rows, references, queries, name=collection, merged=True)
        if found.fingerprint in self.orders:
            places: dict[str, list[int]] = {}
            for position in references[::-1]:
                places.setdefault(str(rows["content"].iloc[position]), []).append(int(position))
            same = np.array([places[one].pop() for one in self.orders[found.fingerprint]], np.int64)
            name = self.collections[found.fingerprint]
            found = Gallery.of(rows, same, queries, name=name, merged=True)
        seen = rows["content"].iloc[found.photos[: found.references]].isin(self.trained_on)
        return replace(found, trained=seen.to_numpy(bool))


def save(saved: SavedMethod, folder: Path) -> None:
    """Write the method below `folder`; `method.json` is written last.

    Raises:
        StorageError: a checkpoint is damaged or gone. WeightsError: weights cannot be had.
    """
    writer = _Writer(folder)
    described = writer.describe(saved.method)
    if saved.trained_on:
        writer.write(TRAINED_ON, "\n".join(sorted(saved.trained_on)).encode())
    for fingerprint, order in saved.orders.items():
        writer.write(ORDER.format(fingerprint), "\n".join(order).encode())
    content = {
        "version": VERSION,
        "method": described,
        "images": saved.images.model_dump(mode="json"),
        "learnt": dict(saved.learnt),
        "collections": dict(saved.collections),
        "about": dict(saved.about),
        "sha256": writer.sha256,
    }
    files.write_json(folder / FILE, seals.sealed(content))


def is_saved(folder: Path) -> bool:
    """Whether a method was saved there."""
    return files.exists(folder / FILE)


def load(folder: Path) -> SavedMethod:
    """What `save` wrote.

    Raises:
        StorageError: damaged, or not a saved method.
    """
    content = seals.unsealed(files.read_json(folder / FILE), folder / FILE)
    try:
        if content["version"] != VERSION:
            raise StorageError(
                f"{address(folder / FILE)}: version {content['version']} of the format, this program reads "
                f"{VERSION}; run the study again with this program"
            )
        for name, digest in content["sha256"].items():
            if seals.sha256_of(_inside(folder, name)) != digest:
                raise seals.damaged(folder / name)
        lists = {
            name: tuple(files.read_bytes(folder / name).decode().split())
            for name in content["sha256"]
            if name.endswith(".txt")
        }
        return SavedMethod(
            method=_Reader(folder).method(content["method"]),
            images=Images.parse(content["images"], where=str(folder / FILE)),
            learnt=content["learnt"],
            collections=content["collections"],
            orders={
                one: lists[ORDER.format(one)] for one in content["collections"] if ORDER.format(one) in lists
            },
            trained_on=frozenset(lists.get(TRAINED_ON, ())),
            about=content["about"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"{address(folder / FILE)}: not a saved method ({error!r})") from None


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; names that lead out of it are refused."""
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise StorageError(f"{address(folder / FILE)}: names a file outside its folder: {name!r}")
    return folder / name


@dataclass
class _Writer:
    """Describes methods as plain data, and writes what they need."""

    folder: Path
    sha256: dict[str, str] = field(default_factory=dict)
    _encodings: dict[Encoding, dict[str, Any]] = field(default_factory=dict)

    def write(self, name: str, data: bytes) -> str:
        files.write_bytes(self.folder / name, data)
        self.sha256[name] = hashlib.sha256(data).hexdigest()
        return name

    def describe(self, method: Method | None) -> dict[str, Any] | None:
        if method is None:
            return None
        if isinstance(method, Embedding):
            parts = {name: self._encoding(one) for name, one in method.encodings.items()}
            return {
                "kind": "embedding",
                "name": method.name,
                "key": method.key,
                "trained": method.trained,
                "sets": method.sets.model_dump(mode="json"),
                "encodings": parts,
                "rerank": None if method.rerank is None else method.rerank.model_dump(mode="json"),
            }
        if isinstance(method, LocalFeatures):
            return {"kind": "local_features", "config": self._local(method.config)}
        if isinstance(method, Shortlisted):
            near = self.describe(method.near)
            return {"kind": "shortlist", "config": self._local(method.local.config), "near": near}
        if isinstance(method, Fusing):
            return {
                "kind": "fusion",
                "config": method.config.model_dump(mode="json"),
                "parts": [self.describe(part) for part in method.parts],
                "near": self.describe(method.near),
            }
        raise StorageError(f"a {type(method).__name__} cannot be saved")

    def _encoding(self, encoding: Encoding) -> dict[str, Any]:
        """The model with its weights beside; equal models share one file."""
        if encoding not in self._encodings:
            from safetensors.torch import (
                save as to_bytes,
            )  # loads torch, which local features need not wait for

            model = encoding.build(self.folder / "unused", "cpu")
            weights = {name: value.contiguous() for name, value in model.backbone.module.state_dict().items()}
            name = f"weights/{len(self._encodings)}.safetensors"
            self._encodings[encoding] = {
                "model": encoding.model,
                "weights": self.write(name, to_bytes(weights)),
                "input_px": encoding.input_px,
                "mean": list(model.backbone.mean),
                "std": list(model.backbone.std),
                "interpolation": model.interpolation,
                "source": encoding.source or model.backbone.weights,
                "licence": encoding.licence,
            }
        return dict(self._encodings[encoding])

    def _local(self, config: Matching) -> dict[str, Any]:
        """The config with files of weights beside."""
        plain = config.model_dump(mode="json")
        for part in _with_weights(plain):
            data = Path(part["weights"]).expanduser().read_bytes()
            name = f"weights/{hashlib.sha256(data).hexdigest()[:16]}{Path(part['weights']).suffix}"
            part["weights"] = self.write(name, data)
        return plain


def _with_weights(plain: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """The parts of a plain `Matching` that name a file of weights."""
    for part in (plain["extractor"], *plain["alternatives"], plain["verify"]):
        if part and part.get("weights"):
            yield part


@dataclass(frozen=True)
class _Reader:
    """Makes methods of what `_Writer` described."""

    folder: Path

    def method(self, raw: Any) -> Method:
        kind = raw["kind"]
        if kind == "embedding":
            return self._embedding(raw)
        if kind == "local_features":
            return LocalFeatures(self._local(raw["config"]))
        if kind == "shortlist":
            return Shortlisted(LocalFeatures(self._local(raw["config"])), self._near(raw))
        if kind == "fusion":
            return Fusing(
                Fusion.parse(raw["config"], where=FILE),
                tuple(self.method(part) for part in raw["parts"]),
                self._near(raw),
            )
        raise ValueError(f"kind {kind!r}")

    def _near(self, raw: Any) -> Method | None:
        return None if raw["near"] is None else self.method(raw["near"])

    def _embedding(self, raw: Any) -> Embedding:
        encodings = {name: self._encoding(one) for name, one in raw["encodings"].items()}
        sets = CandidateSets.parse(raw.get("sets", {}), where=FILE)
        rerank = None if raw.get("rerank") is None else KReciprocal.parse(raw["rerank"], where=FILE)
        return Embedding(raw["name"], raw["key"], encodings, bool(raw["trained"]), sets, rerank)

    def _encoding(self, raw: Any) -> Encoding:
        three = {name: tuple(map(float, raw[name])) for name in ("mean", "std")}
        return Encoding(
            raw["model"],
            str(files.kept(_inside(self.folder, raw["weights"]))),
            int(raw["input_px"]),
            mean=three["mean"],  # type: ignore[arg-type]
            std=three["std"],  # type: ignore[arg-type]
            interpolation=raw["interpolation"],
            source=raw["source"],
            licence=raw["licence"],
        )

    def _local(self, plain: Any) -> Matching:
        for part in _with_weights(plain):
            part["weights"] = str(files.kept(_inside(self.folder, part["weights"])))
        return Matching.parse(plain, where=FILE)


def describe(method: Method) -> str:
    """What a method is, in a few words."""
    if isinstance(method, Fusing):
        return f"fusion of {' + '.join(part.name for part in method.parts)}"
    if isinstance(method, Embedding):
        one = next(iter(method.encodings.values()))
        return f"embedding by {one.model}" + (", trained" if method.trained else "")
    if isinstance(method, Shortlisted):
        return f"local features behind a shortlist by {method.near.name if method.near else 'vlad'}"
    kind = method.config.extractor if isinstance(method, LocalFeatures) else Sift()
    return f"local features ({kind.kind})"


def drawn_by(method: Method) -> Matching | None:
    """The local features whose matches show why a method answers so; None where it has none."""
    if isinstance(method, Fusing):
        return next((found for part in method.parts if (found := drawn_by(part)) is not None), None)
    if isinstance(method, Shortlisted):
        return method.local.config
    return method.config if isinstance(method, LocalFeatures) else None

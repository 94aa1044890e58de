"""Keep photos' vectors on disk, found again by what they were made from, never by a file's name.

A photo is known by its prepared pixels, an encoder by its weights and how it prepares photos. Each shard
is named by its own sha256, so that a damaged one is noticed and its vectors are made again.

Legend: n photos, d dims.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.runs import files

if TYPE_CHECKING:
    from reid_ray.embedding.model import Encoder

_VERSION = 1
"""Raised when the same encoder and pixels give other vectors."""
_KEY_BYTES = 16

log = logging.getLogger(__name__)

Keys = list[bytes]


def photo_keys(images: PreparedImages, positions: NDArray[np.int64]) -> Keys:
    """16 bytes per photo, equal for equal pixels; these are read only where nothing else tells."""
    if images.keys is not None:
        return [bytes.fromhex(key.decode()) for key in images.keys[positions].tolist()]
    keys = []
    for position in positions.tolist():
        pixels = images[position]
        digest = hashlib.blake2b(np.array(pixels.shape, np.int64).tobytes(), digest_size=_KEY_BYTES)
        digest.update(np.ascontiguousarray(pixels).data)
        keys.append(digest.digest())
    return keys


def encoder_key(encoder: "Encoder", *, px: int, interpolation: str, precision: str) -> str:
    """20 hex digits of weights, normalisation and preparation."""
    digest = hashlib.sha256(f"{_VERSION} {px} {interpolation} {precision}".encode())
    for name, values in sorted(encoder.state_dict().items()):
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.detach().cpu().contiguous().numpy().tobytes())
    for values in (encoder.mean, encoder.std):
        digest.update(values.cpu().numpy().tobytes())
    return digest.hexdigest()[:20]


class VectorStore:
    """Vectors of one encoder below `<storage>/vectors/<encoder key>/`.

    Many processes may read and write at a time: shards are written whole and never changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, Keys] = {}

    def missing(self, keys: Sequence[bytes]) -> list[int]:
        """Places of those that are not there, the first of equal ones only."""
        there = {key for _, shard in self._shards() for key in shard}
        places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in there}
        return sorted(places.values())

    def add(self, keys: Sequence[bytes], vectors_nd: NDArray[np.float32]) -> None:
        """Keep vectors, float32, in a shard of their own."""
        packed = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), _KEY_BYTES)
        data: bytes = save({"keys": packed, "vectors": np.ascontiguousarray(vectors_nd)})
        files.write_bytes(self.folder / f"{hashlib.sha256(data).hexdigest()[:32]}.safetensors", data)

    def read(self, keys: Sequence[bytes]) -> NDArray[np.float32] | None:
        """Vectors float32 [n, d] in the order of `keys`; None where one is not there."""
        places: dict[bytes, list[int]] = {}
        for place, key in enumerate(keys):
            places.setdefault(key, []).append(place)
        found: NDArray[np.float32] | None = None
        for path, shard in self._shards():
            wanted = [(row, places.pop(key)) for row, key in enumerate(shard) if key in places]
            if not wanted:
                continue
            vectors = load(files.read_bytes(path))["vectors"]
            if found is None:
                found = np.empty((len(keys), vectors.shape[1]), np.float32)
            for row, here in wanted:
                found[here] = vectors[row]
        return None if places else found

    def _shards(self) -> Iterator[tuple[Path, Keys]]:
        """Whole shards with their keys; each is read and checked once by this object."""
        for name in files.entries(self.folder):
            path = self.folder / name
            if path.suffix != ".safetensors":
                continue
            if path.name not in self._known:
                keys = _read_keys(path)
                if keys is None:
                    continue
                self._known[path.name] = keys
            yield path, self._known[path.name]


def _read_keys(path: Path) -> Keys | None:
    """Keys of a shard; a damaged one is put away, so that its vectors are made again."""
    try:
        data = files.read_bytes(path)
    except FileNotFoundError:  # another process put it away
        return None
    if hashlib.sha256(data).hexdigest()[:32] != path.stem:
        log.warning("%s: damaged; its vectors are made again", path)
        files.remove(path)
        return None
    return [row.tobytes() for row in load(data)["keys"]]

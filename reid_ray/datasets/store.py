"""Prepare photos once and keep them on disk, found again by what is in them.

In: rows (root, path, bbox) and how photos are prepared. Out: files of pixels below a folder, and for each
row where its photo is. A photo's key is a hash of its file, its box and the settings, so it is not decoded
again in a later run, by another study, or under another name; a changed file is another photo.

A shard is `<name>.pixels`, photos one after another, with `<name>.json`: how long it is, its sha256, and
what lies where. The json is written last, so what it names is whole; a file that is not what its json says
is found out when it is first used, and its photos are made again. A file that was found whole is not read
for this again until it changes.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.datasets.cutout import Row, animal_of, cut_out, digest, has_mask
from reid_ray.datasets.images import BadImage, Pixels, Source, decode, prepare, prepare_source, read_source
from reid_ray.datasets.originals import NONE, Originals, address_of, settled
from reid_ray.datasets.prepared import MappedFile, PreparedImages
from reid_ray.datasets.roots import open_root
from reid_ray.errors import StorageError
from reid_ray.runs import files, seals

VERSION = 1
"""Counts up whenever the same file and settings would give other pixels."""

_KEY = "S32"
_DEAD_AFTER_S = 24 * 3600.0
_READ_AT_ONCE = 16


class Placed(NamedTuple):
    """Where the prepared photo of a row is, or why there is none.

    Attributes:
        content: hash of its file; "" if it could not be read.
        error: the reason why it is quarantined; "" if it is not.
        shard: name of the shard.
        start: where in the shard it begins, in bytes.
        reused: it was there already.
        key: see `PreparedStore.key`.
        address, stamp, read: of its file, and the hash of what was read, if that was done now and the file
            will be known again; see `Originals`.
    """

    content: str = ""
    error: str = ""
    shard: str = ""
    start: int = 0
    height: int = 0
    width: int = 0
    reused: bool = False
    key: str = ""
    address: str = ""
    stamp: str = ""
    read: str = ""


@dataclass(frozen=True)
class Index:
    """What is in a store, as arrays that processes can share.

    Attributes:
        keys: bytes [n], sorted.
        shard: int32 [n], which of `shards` each is in.
        place: int64 [n, 3], start in the shard, height, width.
        shards: their names.
        sums: sha256 of each shard's pixels, by its name.
    """

    keys: NDArray[np.bytes_]
    shard: NDArray[np.int32]
    place: NDArray[np.int64]
    shards: tuple[str, ...]
    sums: dict[str, str]

    def find(self, key: str) -> tuple[str, int, int, int] | None:
        """(shard, start, height, width)."""
        wanted = np.array(key, _KEY)
        at = int(np.searchsorted(self.keys, wanted))
        if at == len(self.keys) or self.keys[at] != wanted:
            return None
        start, height, width = self.place[at].tolist()
        return self.shards[self.shard[at]], start, height, width


class PreparedStore:
    """The prepared photos below one folder, for one way to prepare them."""

    def __init__(self, folder: Path, images: Images) -> None:
        self.images = images
        self.folder = folder.absolute() / f"{images.short_px}px{'' if images.enlarge else '-at-most'}"

    def index(self) -> Index:
        """What is there; a json that cannot be read hides its shard."""
        there = files.entries(self.folder)
        _sweep(self.folder, there)
        names = [name for name in there if name.endswith(".json") and name[0] != "."]
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            told = list(pool.map(lambda name: _read_shard(self.folder / name, there), names))
        sound = {Path(name).stem: one for name, one in zip(names, told, strict=True) if one}
        keys, shard, place = [], [], []
        for number, one in enumerate(sound.values()):
            for key, *where in one["photos"]:
                keys.append(key)
                shard.append(number)
                place.append(where)
        order = np.argsort(np.array(keys, _KEY), kind="stable")
        return Index(
            np.array(keys, _KEY)[order],
            np.array(shard, np.int32)[order],
            np.array(place, np.int64).reshape(-1, 3)[order],
            tuple(sound),
            {name: str(one["sha256"]) for name, one in sound.items()},
        )

    def nbytes(self) -> int:
        """Of all pixels that are there."""
        there = files.entries(self.folder)
        return sum(entry.size for name, entry in there.items() if name.endswith(".pixels"))

    @property
    def originals_path(self) -> Path:
        """What is known of files that were read, for any way to prepare them."""
        return self.folder.parent / "originals.parquet"

    def prepare(self, rows: Iterable[Row], index: Index, originals: Originals = NONE) -> list[Placed]:
        """Find each photo in `index`, or decode it; the new ones of one call become one shard.

        A photo that cannot be used is told, not raised.

        Args:
            originals: files that need not be read to know what is in them.

        Raises:
            StorageError: nothing can be written.
        """
        rows = list(rows)
        shard = _Shard(self.folder / uuid.uuid4().hex[:16])
        kept = _Kept(self.folder, index, originals)
        placed = [
            self._place(row, *where, shard, kept, originals)
            for row, where in zip(rows, self._whereabouts(rows), strict=True)
        ]
        shard.write()
        return placed

    def _place(
        self, row: Row, address: str, stamp: str, shard: "_Shard", kept: "_Kept", originals: Originals
    ) -> Placed:
        try:
            animal = animal_of(row, self.images)
            if content := originals.content(address, stamp):
                source = _of_animal(Source(b"", self._box(row), content), animal)
                if found := kept.placed(source.content, self.key(source)):
                    return found
            kind = row.kind(self.images)
            read = read_source(row.root, row.path, images=self.images, bbox=row.bbox, crop=kind)
            source = _of_animal(read, animal)
            key = self.key(source)
            found = kept.placed(source.content, key)
            if found is None:
                if not shard.has(key):
                    shard.add(key, self._prepared(source, animal))
                found = Placed(source.content, "", shard.path.name, *shard.photos[key], key=key)
            return (
                found._replace(address=address, stamp=stamp, read=read.content) if settled(stamp) else found
            )
        except BadImage as error:
            return Placed(error=str(error) or "unreadable")

    def known(
        self, rows: Sequence[Row], index: Index, originals: Originals
    ) -> tuple[list[Placed | None], list[tuple[str, str, str]]]:
        """Where the photos are that were prepared before, as far as their stamps tell; no photo is read.

        Returns:
            (of each row its place; None: its file or its mask must be read, for `remember`: the address,
            stamp and content of shards that were read to see that they are whole)
        """
        keys: list[tuple[str, str]] = []
        for row, where in zip(rows, self._whereabouts(rows), strict=True):
            content = None if has_mask(row, self.images) else originals.content(*where)
            keys.append((content, self.key(Source(b"", self._box(row), content))) if content else ("", ""))
        kept = _Kept(self.folder, index, originals)
        kept.look({found[0] for _, key in keys if key and (found := index.find(key))})
        return [kept.placed(*one) if one[0] else None for one in keys], kept.read

    def _whereabouts(self, rows: Sequence[Row]) -> list[tuple[str, str]]:
        """Address and stamp of each."""
        paths: dict[str, list[str]] = {}
        for row in rows:
            paths.setdefault(row.root, []).append(row.path)
        told = {root: iter(open_root(root).stamps(of)) for root, of in paths.items()}
        return [(address_of(row.root, row.path, self._box(row)), next(told[row.root])) for row in rows]

    def _box(self, row: Row) -> Sequence[float] | None:
        return row.bbox if row.kind(self.images) == "bbox" else None

    def _prepared(self, source: Source, animal: NDArray[np.bool_] | None) -> Pixels:
        if animal is None:
            return prepare_source(source, images=self.images)
        pixels = cut_out(decode(source.data, max_pixels=self.images.max_pixels), animal)
        return prepare(pixels, short_px=self.images.short_px, enlarge=self.images.enlarge)

    def key(self, source: Source) -> str:
        """Equal keys: the same pixels once prepared."""
        box = None if source.box is None else [float(side) for side in source.box]
        made = [VERSION, source.content, box, self.images.short_px, self.images.max_pixels]
        made += [] if self.images.enlarge else ["at most"]
        return hashlib.sha256(json.dumps(made).encode()).hexdigest()[:32]

    def open(self, placed: Sequence[Placed]) -> PreparedImages:
        """The photos of rows that have one, in their order, mapped from their files.

        Raises:
            StorageError: another node wrote a file that is not to be seen from here.
        """
        names = sorted({photo.shard for photo in placed})
        there = files.entries(self.folder)
        for name in names:
            if _pixels(self.folder / name).name not in there:
                raise StorageError(
                    f"{_pixels(self.folder / name)}: photos were prepared, but their file is not here; "
                    "on a cluster, the storage must be one that all nodes share"
                )
        number = {name: i for i, name in enumerate(names)}
        return PreparedImages(
            tuple(MappedFile(str(_pixels(self.folder / name))) for name in names),
            np.array([number[photo.shard] for photo in placed], np.int32),
            np.array([photo.start for photo in placed], np.int64),
            np.array([(photo.height, photo.width) for photo in placed], np.int32).reshape(-1, 2),
            np.array([photo.key for photo in placed], _KEY),
        )


def _of_animal(source: Source, animal: NDArray[np.bool_] | None) -> Source:
    """Known by its mask, too, where it has one."""
    if animal is None:
        return source
    return source._replace(content=f"{source.content[:16]}{digest(animal)[:16]}")


class _Shard:
    """Photos to be written together.

    Attributes:
        photos: start, height and width of each by its key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.photos: dict[str, tuple[int, int, int]] = {}
        self._pixels: list[Pixels] = []
        self._bytes = 0

    def has(self, key: str) -> bool:
        return key in self.photos

    def add(self, key: str, pixels: Pixels) -> None:
        self.photos[key] = (self._bytes, *pixels.shape[:2])
        self._pixels.append(pixels)
        self._bytes += pixels.size

    def write(self) -> None:
        if not self.photos:
            return
        digest = hashlib.sha256()
        for pixels in self._pixels:
            digest.update(pixels.data)
        files.write_bytes(_pixels(self.path), *(p.data for p in self._pixels), keep=True)
        told = {
            "version": VERSION,
            "bytes": self._bytes,
            "sha256": digest.hexdigest(),
            "photos": [[key, *place] for key, place in self.photos.items()],
        }
        files.write_json(_json(self.path), seals.sealed(told))


def _pixels(shard: Path) -> Path:
    return shard.with_suffix(".pixels")


def _json(shard: Path) -> Path:
    return shard.with_suffix(".json")


def _read_shard(path: Path, there: Mapping[str, files.Entry]) -> Any:
    """What a shard's json tells; None if it is not such a json, or the pixels' length differs."""
    pixels = there.get(_pixels(path).name)
    try:
        told = seals.unsealed(files.read_json(path), path)
        sound = pixels is not None and told["bytes"] == pixels.size and "sha256" in told
        return told if sound and all(len(photo) == 4 for photo in told["photos"]) else None
    except (StorageError, KeyError, TypeError):
        return None


class _Kept:
    """Finds photos in shards that are whole; each is looked at once, and read unless its stamp is known.

    Attributes:
        read: address, stamp and content of shards that were read; see `remember`.
    """

    def __init__(self, folder: Path, index: Index, originals: Originals) -> None:
        self.read: list[tuple[str, str, str]] = []
        self._folder, self._index, self._originals = folder, index, originals
        self._whole: dict[str, bool] = {}

    def placed(self, content: str, key: str) -> Placed | None:
        """Where its photo is, if it was prepared before."""
        found = self._index.find(key)
        if not found:
            return None
        if found[0] not in self._whole:
            self.look([found[0]])
        return Placed(content, "", *found, reused=True, key=key) if self._whole[found[0]] else None

    def look(self, shards: Collection[str]) -> None:
        """See whether these are whole, some at once."""
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            self._whole |= zip(shards, pool.map(self._look, shards), strict=True)

    def _look(self, name: str) -> bool:
        """Whether the pixels are still those that were written; what is not is deleted, not met again."""
        file = _pixels(self._folder / name)
        content = self._index.sums[name][:32]
        address = address_of(str(self._folder), file.name, None)
        if self._originals.content(address, _stamp(file)) == content:
            return True
        for on_this_machine in (files.mapped, files.fetched):  # a machine's copy may be damaged alone
            with suppress(OSError):
                path = on_this_machine(file)
                stamp = _stamp(path)
                if _digest(path, stamp) == self._index.sums[name]:
                    if settled(stamp):
                        self.read.append((address, stamp, content))
                    return True
        files.remove(_json(file))
        files.remove(file)
        return False


def _stamp(file: Path) -> str:
    return open_root(str(file.parent)).stamps([file.name])[0]


@lru_cache(maxsize=100_000)
def _digest(path: Path, stamp: str) -> str:
    """sha256 of a file; read once per process, and again if it was written to."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sweep(folder: Path, there: Mapping[str, files.Entry]) -> None:
    """Delete what writers that were killed left behind, long ago enough to be surely dead."""
    for name, entry in there.items():
        named = _json(Path(name)).name in there and not name.startswith(".")
        if not named and time.time() - entry.changed > _DEAD_AFTER_S:
            files.remove(folder / name)

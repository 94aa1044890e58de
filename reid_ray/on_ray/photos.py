"""Read the collections, split them, and decode every photo once, in parallel, with Ray Data.

In: the table of rows with its split. Out: uint8 photos in table order, mapped from files that tasks wrote;
the rows that could be read with their content hash, and the others with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray
from numpy.typing import NDArray
from ray.data import Dataset, TaskPoolStrategy
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from reid_ray.config.datasets import Data, Split, SyntheticDataset
from reid_ray.datasets.catalogue import load_rows, refuse_bad_share
from reid_ray.datasets.cutout import COLUMNS, CROP, Row
from reid_ray.datasets.originals import Originals, remember
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.store import Index, Placed, PreparedStore
from reid_ray.errors import DatasetError, ReidError, ResourceError
from reid_ray.progress import Display
from reid_ray.runs.storage import remote
from reid_ray.splits.assign import assign
from reid_ray.splits.leaks import settle_leaks
from reid_ray.studies.capacity import look, refuse_full_disk

BATCH = 64
"""Photos of one task and one file, at least."""
FILE_BYTES = 1 << 28
"""A task holds so many bytes of pixels at the most, however many photos there are."""
_MOST_TASKS = 2000
KNOWN_HERE = 20_000
"""Up to so many photos of object storage, the driver looks by itself which of them were prepared before."""
Read = tuple[str, str, str]
"""Address, stamp and content of a file that was read; see `remember`."""
Known = tuple[Index, Originals]
"""What was prepared, and which files need not be read to know what is in them."""
_RETRIES = 4
"""Of a task whose process is lost. Ray Data would try for ever, also where a photo kills its decoder."""


@dataclass(frozen=True)
class Photos:
    """The photos of a study, ready for any method.

    Attributes:
        images: photo i belongs to row i of `rows`.
        rows: the table with its split, without photos that could not be read.
        quarantine: dataset, image_id, path, reason of those quarantined.
        notes: sentences for the reader on leaks and photos quarantined.
        leaks: the findings behind these sentences, as plain data.
    """

    images: PreparedImages
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    notes: list[str]
    leaks: list[dict[str, Any]]


def load_photos(data: Data, *, made: Path, prepared: Path, display: Display) -> Photos:
    """Collections -> table -> split -> decoded photos, less what is unreadable or leaks.

    The split is decided on the whole table before a photo is opened, so that a damaged file does
    not change the part of any other. Synthetic collections are generated below `made`, photos kept below
    `prepared`. Ray must be running.
    """
    if any(isinstance(dataset, SyntheticDataset) for dataset in data.datasets):
        display.say("rendering the synthetic collections, unless they are there already")
    loaded = load_rows(data, made=made)
    rows, findings = assign(loaded.rows, data.split, data.unseen)
    store = PreparedStore(prepared, data.images)
    refuse_full_disk(
        look(prepared), prepared, photos=len(rows), kept=store.nbytes(), short_px=data.images.short_px
    )
    with display.phase("photos", len(rows), "prepared") as phase:
        images, kept, bad, reused = prepare_images(rows, store, progress=phase.at)
    if reused:
        display.say(f"{reused} of {len(images)} photos were prepared before and are used again")
    for name, part in rows.groupby("dataset", sort=False):
        lost = int((bad["dataset"] == name).sum())
        refuse_bad_share(str(name), bad=lost, total=len(part), images=data.images)
    near = _near_duplicates(kept, images, data.split, prepared.parent / "near_duplicates", display)
    kept, more = settle_leaks(kept, data.split, near)
    # What was only reported before decoding is found once more after it.
    leaks = [finding for finding in findings if finding.action == "drop"]
    leaks += [finding for finding in more if finding.kind != "without_day"]
    notes = [finding.text for finding in leaks]
    quarantine = pd.concat([loaded.quarantine, bad], ignore_index=True)
    if len(quarantine):
        example = f"{quarantine['path'][0]}: {quarantine['reason'][0]}"
        notes.append(f"{len(quarantine)} photos quarantined, for example {example}")
    for note in notes:
        display.say(f"note: {note}")
    return Photos(images, kept, quarantine, notes, [finding.record() for finding in leaks])


def _near_duplicates(
    rows: pd.DataFrame, images: PreparedImages, split: Split, folder: Path, display: Display
) -> list[tuple[int, int]]:
    """Queries that nearly are a reference or training photo."""
    from reid_ray.on_ray.near_duplicates import near_duplicates  # tasks that prepare photos need no torch

    if split.leak_actions.near_duplicate == "off":
        return []
    queries = np.flatnonzero(rows["split"].eq("query"))
    others = np.flatnonzero(rows["split"].isin(["reference", "train"]))
    return near_duplicates(images, queries, others, folder=folder, display=display)


def photos_per_file(photos: int, short_px: int) -> int:
    """Photos of one task and one file.

    A small collection has many, so that all CPUs have work to the end. A large one has few: a process may
    map but 65 530 files (`vm.max_map_count`), and each task has its overhead.
    """
    most = max(1, FILE_BYTES // (BATCH * 4 * short_px**2))  # of 4:3, in colour
    return BATCH * min(most, max(1, round(photos / BATCH / _MOST_TASKS)))


def index(rows: pd.DataFrame, size: int = BATCH) -> Dataset:
    """What preparing needs of each row, as a Ray Dataset; `position` is the row's number.

    Each block of `size` rows is one task.
    """
    columns = pa.table(
        {
            "position": np.arange(len(rows)),
            "root": pa.array(rows["root"], pa.string()),
            "path": pa.array(rows["path"], pa.string()),
            "bbox": pa.array(rows["bbox"] if "bbox" in rows else [None] * len(rows), pa.list_(pa.float64())),
            **{name: _texts(rows, name) for name in ("mask", "segmentation", CROP)},
        }
    )
    return ray.data.from_arrow([columns.slice(at, size) for at in range(0, max(1, len(rows)), size)])


def _texts(rows: pd.DataFrame, name: str) -> pa.Array:
    """A column as text, "" where it is empty or not there."""
    cells = rows[name] if name in rows else [""] * len(rows)
    return pa.array([cell if isinstance(cell, str) else "" for cell in cells], pa.string())


def prepare_images(
    rows: pd.DataFrame, store: PreparedStore, *, progress: Callable[[int], None] = lambda _: None
) -> tuple[PreparedImages, pd.DataFrame, pd.DataFrame, int]:
    """Read all photos; decode, scale and keep those that `store` does not have yet.

    Tasks write the pixels to the store, on whatever node they run, and tell where; no process holds
    more than a batch.

    Args:
        progress: called with the number of photos seen so far.

    Returns:
        (photos, rows with `content`, quarantine, how many were there already): photo i belongs to
        row i of the returned rows.

    Raises:
        StorageError: the store cannot be written, or not read from here.
        DatasetError: a photo kills the process that decodes it again and again.
        ResourceError: memory ran out, also with one task at a time.
    """
    known = Originals.read(store.originals_path)
    placed, shards = _place(rows, store, known, progress)
    read = [(one.address, one.stamp, one.read) for one in placed if one.stamp]
    remember(store.originals_path, known, shards + read)
    error = [photo.error for photo in placed]
    good = np.array([not reason for reason in error])
    content = [photo.content for photo in placed]
    kept = rows.assign(content=content)[good].reset_index(drop=True)
    quarantine = rows.assign(reason=error).loc[~good, ["dataset", "image_id", "path", "reason"]]
    photos = [photo for photo in placed if not photo.error]
    reused = sum(photo.reused for photo in photos)
    return store.open(photos), kept, quarantine.reset_index(drop=True), reused


def _place(
    rows: pd.DataFrame, store: PreparedStore, known: Originals, progress: Callable[[int], None]
) -> tuple[list[Placed], list[Read]]:
    """Where each row's photo is, as the tasks tell it, one after another where memory ran out; and the
    shards that were read.

    What was prepared until then is in the store.
    """
    there = store.index()
    placed, waiting, shards = _known_here(rows, store, there, known)
    progress(len(rows) - len(waiting))
    if not len(waiting):
        return placed, shards
    left = rows.iloc[waiting]

    def told(done: int) -> None:
        progress(len(rows) - len(waiting) + done)

    try:
        made = _placed(left, store, (there, known), told, at_once=None)
    except OutOfMemoryError:
        made = _placed_one_by_one(left, store, (there, known), told)
    for position, photo in zip(waiting.tolist(), made, strict=True):
        placed[position] = photo
    return placed, shards


def _known_here(
    rows: pd.DataFrame, store: PreparedStore, there: Index, known: Originals
) -> tuple[list[Placed], NDArray[np.int64], list[Read]]:
    """Where the photos are that were prepared before, the numbers of other rows, and shards that were read.

    So that a start that finds all of them need not wait for tasks. Object storage is asked file by file,
    which tasks on many machines do sooner.
    """
    if not len(known.addresses) or (len(rows) > KNOWN_HERE and _far(rows, store)):
        return [Placed()] * len(rows), np.arange(len(rows)), []
    names = [name for name in COLUMNS if name in rows]
    told = zip(*(rows[name] for name in names), strict=True)
    found, shards = store.known([Row.of(dict(zip(names, one, strict=True))) for one in told], there, known)
    waiting = np.array([at for at, photo in enumerate(found) if photo is None], np.int64)
    return [photo or Placed() for photo in found], waiting, shards


def _far(rows: pd.DataFrame, store: PreparedStore) -> bool:
    """Whether object storage is asked for the photos, or for what is kept of them."""
    return remote(store.folder) is not None or any("://" in root for root in rows["root"].unique())


def _placed_one_by_one(
    rows: pd.DataFrame, store: PreparedStore, known: Known, progress: Callable[[int], None]
) -> list[Placed]:
    try:
        return _placed(rows, store, known, progress, at_once=1)
    except OutOfMemoryError:
        raise ResourceError(
            "memory ran out while photos were prepared, also one task at a time; lower "
            "data.images.max_pixels or data.images.short_px, or close other programs"
        ) from None


def _placed(
    rows: pd.DataFrame,
    store: PreparedStore,
    known: Known,
    progress: Callable[[int], None],
    *,
    at_once: int | None,
) -> list[Placed]:
    size = photos_per_file(len(rows), store.images.short_px)
    told = index(rows, size).map_batches(
        _prepare_batch,
        batch_format="pyarrow",
        batch_size=size,
        fn_kwargs={"store": store, "known": [ray.put(known)]},
        max_retries=_RETRIES,
        compute=TaskPoolStrategy(size=at_once),
    )
    told.context.raise_original_map_exception = True
    # Batches come back in any order; the position says which row each photo is of.
    placed = [Placed()] * len(rows)
    waiting = np.ones(len(rows), bool)
    seen = 0
    try:
        for batch in told.iter_batches(batch_size=None, batch_format="pyarrow"):
            for record in batch.to_pylist():
                position = record.pop("position")
                placed[position], waiting[position] = Placed(**record), False
            seen += len(batch)
            progress(seen)
    except RayTaskError as failed:
        if isinstance(failed.cause, ReidError):
            # Ray adds lines of its own to ours.
            raise type(failed.cause)(str(failed.cause).splitlines()[0]) from None
        raise
    except WorkerCrashedError:
        left = rows["path"].to_numpy(str)[waiting]
        raise DatasetError(
            f"a process that prepares photos was lost {_RETRIES + 1} times: its memory ran out, or "
            f"a photo kills it, one of these {len(left)}: {', '.join(left[:BATCH])}; "
            "lower data.images.max_pixels, or take the photo out"
        ) from None
    return placed


_PLACED = pa.schema(
    {
        "position": pa.int64(),
        "content": pa.string(),
        "error": pa.string(),
        "shard": pa.string(),
        "start": pa.int64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "reused": pa.bool_(),
        **dict.fromkeys(("key", "address", "stamp", "read"), pa.string()),
    }
)


def _prepare_batch(batch: pa.Table, *, store: PreparedStore, known: list[ray.ObjectRef]) -> pa.Table:
    there: Known = ray.get(known[0])
    rows = batch.to_pylist()
    placed = store.prepare((Row.of(row) for row in rows), *there)
    records = [
        {"position": row["position"]} | photo._asdict() for row, photo in zip(rows, placed, strict=True)
    ]
    return pa.Table.from_pylist(records, schema=_PLACED)

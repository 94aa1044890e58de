"""Read the collections, split them, and decode every photo once, in parallel, with Ray Data.

In: the table of rows with its split. Out: packed uint8 photos in table order, the rows that could be read
with their content hash, and the others with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import ray
from ray.data import Dataset

from reid_ray.config.datasets import Data, HerdDataset, Images
from reid_ray.datasets.catalogue import load_rows, refuse_bad_share
from reid_ray.datasets.images import BadImage, read_prepared
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.on_ray.progress import Display
from reid_ray.splits.assign import assign
from reid_ray.splits.leaks import settle_leaks
from reid_ray.splits.near_duplicates import find_near_duplicates

BATCH = 16


@dataclass(frozen=True)
class Photos:
    """The photos of a study, ready for any method.

    Attributes:
        images: photo i belongs to row i of `rows`.
        rows: the table with its split, without photos that could not be read.
        quarantine: dataset, image_id, path, reason of those put aside.
        notes: sentences for the reader on leaks and photos put aside.
        leaks: the findings behind these sentences, as plain data.
    """

    images: PreparedImages
    rows: pd.DataFrame
    quarantine: pd.DataFrame
    notes: list[str]
    leaks: list[dict[str, Any]]


def load_photos(data: Data, *, made: Path, display: Display) -> Photos:
    """Collections -> table -> split -> decoded photos, less what is unreadable or leaks.

    The split is decided on the whole table before a photo is opened, so that a damaged file does
    not change the part of any other. Herds are generated below `made`. Ray must be running.
    """
    if any(isinstance(dataset, HerdDataset) for dataset in data.datasets):
        display.say("rendering the herd, unless it is there already")
    loaded = load_rows(data, made=made)
    rows, findings = assign(loaded.rows, data.split, data.unseen)
    with display.phase("photos", len(rows), "decoded") as phase:
        images, kept, bad = prepare_images(rows, data.images, progress=phase.at)
    for name, part in rows.groupby("dataset", sort=False):
        lost = int((bad["dataset"] == name).sum())
        refuse_bad_share(str(name), bad=lost, total=len(part), images=data.images)
    kept, more = settle_leaks(kept, data.split, _near_duplicates(kept, images))
    # What was only reported before decoding is found once more after it.
    leaks = [finding for finding in findings if finding.action == "drop"]
    leaks += [finding for finding in more if finding.kind != "without_day"]
    notes = [finding.text for finding in leaks]
    quarantine = pd.concat([loaded.quarantine, bad], ignore_index=True)
    if len(quarantine):
        example = f"{quarantine['path'][0]}: {quarantine['reason'][0]}"
        notes.append(f"{len(quarantine)} photos put aside, for example {example}")
    for note in notes:
        display.say(f"note: {note}")
    return Photos(images, kept, quarantine, notes, [finding.record() for finding in leaks])


def _near_duplicates(rows: pd.DataFrame, images: PreparedImages) -> list[tuple[int, int]]:
    """Queries that nearly are a reference or training photo."""
    queries = np.flatnonzero(rows["split"].eq("query"))
    others = np.flatnonzero(rows["split"].isin(["reference", "train"]))
    return find_near_duplicates(images, queries, others)


def index(rows: pd.DataFrame) -> Dataset:
    """What decoding needs of each row, as a Ray Dataset; `position` is the row's number."""
    columns = pa.table(
        {
            "position": np.arange(len(rows)),
            "root": pa.array(rows["root"], pa.string()),
            "path": pa.array(rows["path"], pa.string()),
            "bbox": pa.array(
                rows["bbox"] if "bbox" in rows else [None] * len(rows), pa.list_(pa.float64())
            ),
        }
    )
    return ray.data.from_arrow(columns)


def prepare_images(
    rows: pd.DataFrame, images: Images, *, progress: Callable[[int], None] = lambda _: None
) -> tuple[PreparedImages, pd.DataFrame, pd.DataFrame]:
    """Decode, scale and pack all photos.

    Args:
        progress: called with the number of photos seen so far.

    Returns:
        (photos, rows with `content`, quarantine): photo i belongs to row i of the returned rows.
    """
    decoded = index(rows).map_batches(
        _decode_batch, batch_format="pyarrow", batch_size=BATCH, fn_kwargs={"images": images}
    )
    # Blocks come back in any order; the position says where each photo belongs.
    photos: list[Any] = [None] * len(rows)
    content, error = [""] * len(rows), [""] * len(rows)
    seen = 0
    for batch in decoded.iter_batches(batch_size=None, batch_format="pyarrow"):
        for record in batch.to_pylist():
            at = record["position"]
            content[at], error[at] = record["content"], record["error"]
            if not record["error"]:
                shape = (record["height"], record["width"], 3)
                photos[at] = np.frombuffer(record["pixels"], np.uint8).reshape(shape)
        seen += len(batch)
        progress(seen)
    good = np.array([not reason for reason in error])
    kept = rows.assign(content=content)[good].reset_index(drop=True)
    quarantine = rows.assign(reason=error).loc[~good, ["dataset", "image_id", "path", "reason"]]
    packed = PreparedImages.pack(photo for photo in photos if photo is not None)
    return packed, kept, quarantine.reset_index(drop=True)


_DECODED = pa.schema(
    {
        "position": pa.int64(), "pixels": pa.large_binary(), "height": pa.int32(), "width": pa.int32(),
        "content": pa.string(), "error": pa.string(),
    }
)  # fmt: skip


def _decode_batch(batch: pa.Table, *, images: Images) -> pa.Table:
    """Never raises for a bad photo: its row says why, and the run goes on."""
    records = []
    for row in batch.to_pylist():
        record = {"position": row["position"], "content": "", "error": ""}
        try:
            pixels, content = read_prepared(
                row["root"], row["path"], images=images, bbox=row["bbox"]
            )
            height, width, _ = pixels.shape
            record |= {
                "pixels": pixels.tobytes(), "height": height, "width": width, "content": content,
            }  # fmt: skip
        except BadImage as error:
            record["error"] = str(error) or "unreadable"
        records.append(record)
    return pa.Table.from_pylist(records, schema=_DECODED)

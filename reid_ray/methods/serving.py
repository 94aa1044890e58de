"""Name photos with a saved method in this process alone, without Ray. In: files. Out: candidates."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reid_ray.config.datasets import Data
from reid_ray.datasets import cutout
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.schema import UNKNOWN
from reid_ray.datasets.store import PreparedStore
from reid_ray.datasets.understand import understand
from reid_ray.errors import DatasetError
from reid_ray.methods.bench import InProcess
from reid_ray.methods.naming import animal_names, name_queries
from reid_ray.methods.saved import SavedMethod
from reid_ray.methods.worth import Asked, Worth, learn_worth

COLUMNS = ("photo", "rank", "identity", "probability", "unknown_probability", "reference")


def name_photos(
    saved: SavedMethod, reference: Path, photos: Sequence[Path], *, most: int = 5
) -> pd.DataFrame:
    """Candidates of each photo, best first: columns `COLUMNS`.

    Args:
        reference: photos of known animals: a folder per animal, or a table.
        most: candidates per photo.

    Raises:
        DatasetError: a photo cannot be read, or nobody is known.
    """
    with tempfile.TemporaryDirectory() as folder:
        known = load_rows(Data(datasets=(understand(reference).dataset,)), made=Path(folder)).rows
        known = known[known["identity"].ne(UNKNOWN)]
        asked = pd.DataFrame(
            {"dataset": "query", "root": [str(p.parent) for p in photos], "path": [p.name for p in photos]}
        ).assign(identity=UNKNOWN)
        rows = pd.concat([known, asked], ignore_index=True)
        images, content = _prepared(rows, PreparedStore(Path(folder) / "prepared", saved.images))
        rows = rows.assign(content=content)
        return _named(saved, rows, images, Path(folder), references=len(known), most=most)


def _prepared(rows: pd.DataFrame, store: PreparedStore) -> tuple[PreparedImages, list[str]]:
    told = rows[[name for name in cutout.COLUMNS if name in rows]].astype(object)
    records: Any = told.where(told.notna(), None).to_dict("records")
    wanted = [cutout.Row.of(record) for record in records]
    placed = store.prepare(wanted, store.index())
    for row, photo in zip(wanted, placed, strict=True):
        if photo.error:
            raise DatasetError(f"{Path(row.root) / row.path}: {photo.error}")
    return store.open(placed), [photo.content for photo in placed]


def _named(
    saved: SavedMethod, rows: pd.DataFrame, images: PreparedImages, store: Path, *, references: int, most: int
) -> pd.DataFrame:
    places = np.arange(len(rows), dtype=np.int64)
    gallery = saved.gallery(rows, places[:references], places[references:], collection="reference")
    bench = InProcess(images, store)
    ready = saved.method.prepare([gallery], bench, learnt=saved.learnt)[0]
    learnt = saved.learnt.get(gallery.fingerprint)
    worth = Worth.of(learnt) if learnt else learn_worth(ready, bench, Asked(looks=2))
    found = name_queries(ready, worth, bench, gallery.queries, most=most)
    names = animal_names(gallery, rows)
    records = [
        {
            "photo": str(Path(rows["root"][row]) / rows["path"][row]),
            "rank": rank + 1,
            "identity": names[identity],
            "probability": float(found.candidates.probability_qc[q, rank]),
            "unknown_probability": float(found.candidates.unknown_q[q]),
            "reference": str(rows["path"][found.photo_qc[q, rank]]),
        }
        for q, row in enumerate(gallery.photos[references:])
        for rank, identity in enumerate(found.candidates.identity_qc[q])
        if identity >= 0
    ]
    return pd.DataFrame(records, columns=list(COLUMNS))

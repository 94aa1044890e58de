"""Work out how a folder of photos is organised, so that nobody has to know our config to begin.

In: a folder, or a table or JSON file in one. Out: the dataset's config and what led to it, in words.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from reid_ray.config.datasets import (
    CocoDataset,
    ColumnNames,
    Detections,
    FolderDataset,
    PhotoDataset,
    TableDataset,
    WildbookDataset,
)
from reid_ray.datasets.coco import IDENTITY_FIELDS
from reid_ray.datasets.folder import SUFFIXES
from reid_ray.datasets.listed import parse_json
from reid_ray.datasets.roots import hidden, open_root
from reid_ray.datasets.table import read_cells
from reid_ray.datasets.wildbook import MEDIA
from reid_ray.errors import DatasetError

TABLES = (".csv", ".tsv", ".xlsx", ".parquet", ".pq")
SYNONYMS = {
    "identity": (
        "identity",
        "individual",
        "individual_id",
        "individualid",
        "animal",
        "animal_id",
        "animalid",
        "name",
        "label",
        "id",
    ),
    "path": (
        "path",
        "file",
        "filename",
        "file_name",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "image_name",
        "photo",
        "img",
    ),
    "image_id": ("image_id", "imageid", "photo_id"),
    "date": ("date", "datetime", "date_time", "timestamp", "day"),
    "orientation": ("orientation", "side", "flank", "viewpoint", "view"),
    "species": ("species", "taxon", "scientific_name"),
    "bbox": ("bbox", "box", "bounding_box"),
    "split": ("split", "set", "subset", "partition"),
}
"""What people call our columns, in lower case, the likeliest first."""
_MOST_LOOKED_AT = 1 << 28
"""Bytes of a JSON file that is opened to see what it is."""


@dataclass(frozen=True)
class Understood:
    """How a collection is organised.

    Attributes:
        dataset: ready to be used.
        reasons: sentences on what was seen and how it is read.
    """

    dataset: PhotoDataset
    reasons: list[str] = field(default_factory=list)

    def yaml(self) -> str:
        """The dataset as an item of `data.datasets`; what stands at its default is left out."""
        plain = self.dataset.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(
            plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
        ).strip()


def understand(path: Path, *, named: bool = True) -> Understood:
    """Look at a folder, or at the file in it that lists the photos.

    Args:
        named: whether a table must name the animals; photos to be identified need no names.

    Raises:
        DatasetError: nothing there that looks like photos with or without names.
    """
    if path.is_file():
        found = _of_file(path.parent, path, named)
        if found is None:
            raise DatasetError(
                f"{path}: neither a table ({', '.join(TABLES)}) nor COCO JSON; give the folder of the "
                "photos, or the file that lists them"
            )
        return found
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder or file")
    listed = _listing_files(path)
    for file in listed:
        if (found := _of_file(path, file, named)) is not None:
            return _with_detections(found, path, listed)
    return _with_detections(_of_folders(path), path, listed)


def _listing_files(folder: Path) -> list[Path]:
    """Tables, then JSON files, at the top; those that are usually called so first."""
    files = [p for p in sorted(folder.iterdir()) if p.is_file() and not hidden(p.name)]
    tables = [p for p in files if p.suffix.lower() in TABLES]
    tables.sort(key=lambda p: p.stem.lower() not in ("metadata", "annotations"))
    return tables + [p for p in files if p.suffix.lower() == ".json"]


def _of_file(folder: Path, file: Path, named: bool) -> Understood | None:
    if file.suffix.lower() == ".json":
        return _of_json(folder, file)
    return _of_table(folder, file, named) if file.suffix.lower() in TABLES else None


def _of_json(folder: Path, file: Path) -> Understood | None:
    raw = _json(file)
    if not isinstance(raw, dict) or not {"images", "annotations"} <= set(raw):
        return None
    dataset = CocoDataset(source="coco", name=_name(folder), root=str(folder), annotations=file.name)
    entries = [e for e in [*raw["annotations"][:100], *raw["images"][:100]] if isinstance(e, dict)]
    named = [name for name in IDENTITY_FIELDS if any(name in entry for entry in entries)]
    reasons = [
        f"{file.name} is COCO JSON: {len(raw['images'])} images, {len(raw['annotations'])} annotations"
    ]
    if not named:
        dataset = dataset.model_copy(update={"identity": "category"})
        reasons.append("no field names individuals, so each category is taken for one animal")
    else:
        reasons.append(f"individuals are named by `{named[0]}`")
    return Understood(dataset, reasons)


def _of_table(folder: Path, file: Path, named: bool) -> Understood | None:
    where = open_root(str(folder))
    _, cells = read_cells(_name(folder), file.name, where, [])
    names = [name.strip() for name in cells.column_names]
    if any(MEDIA.fullmatch(name) for name in names):
        dataset = WildbookDataset(source="wildbook", name=_name(folder), root=str(folder), metadata=file.name)
        return Understood(dataset, [f"{file.name} is a Wildbook sheet of {len(cells)} encounters"])
    columns, sentences = _columns(names)
    if "path" not in columns:
        return None
    if "identity" not in columns and named:
        raise DatasetError(
            f"{file}: lists photos (column '{columns['path']}') but none of its columns "
            f"{names} names the animal; rename that column to 'identity'"
        )
    columns.setdefault("identity", "")
    table = TableDataset(
        source="table",
        name=_name(folder),
        root=str(folder),
        metadata=file.name,
        columns=ColumnNames(**{ours: name for ours, name in columns.items() if ours != name}),
    )
    return Understood(table, [f"{file.name} lists {len(cells)} photos", *sentences])


def _columns(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Our columns found among `names`, and a sentence for each that goes by another name."""
    lower = {name.lower().replace(" ", "_"): name for name in reversed(names)}
    found, sentences = {}, []
    for ours, synonyms in SYNONYMS.items():
        if (theirs := next((lower[s] for s in synonyms if s in lower), None)) is not None:
            found[ours] = theirs
            if theirs != ours:
                sentences.append(f"column '{theirs}' is read as {ours}")
            if ours == "split":
                sentences.append(
                    f"column '{theirs}' holds a split of its own; to use it set data.split to {{kind: given}}"
                )
    return found, sentences


def _of_folders(path: Path) -> Understood:
    photos = [p for p in open_root(str(path)).files() if _is_photo(p)]
    if not photos:
        raise DatasetError(f"{path}: no photo ({', '.join(sorted(SUFFIXES))}) and no table that lists photos")
    animals = {p.partition("/")[0] for p in photos if "/" in p}
    loose = sum("/" not in p for p in photos)
    dataset = FolderDataset(source="folder", name=_name(path), root=str(path))
    reasons = []
    if animals:
        reasons.append(f"a folder per animal: {len(animals)} folders, for example {sorted(animals)[0]}")
    if loose:
        reasons.append(f"{loose} photos lie beside folders, so their animals count as unknown")
    return Understood(dataset, reasons)


def _with_detections(found: Understood, folder: Path, listed: Iterable[Path]) -> Understood:
    """Name MegaDetector's results where they lie beside the photos."""
    for file in listed:
        if file.suffix.lower() == ".json" and _is_detections(_json(file)):
            return Understood(
                found.dataset.model_copy(update={"detections": Detections(file=file.name)}),
                [*found.reasons, f"{file.name} holds MegaDetector's boxes: photos are cropped to the animal"],
            )
    return found


def _is_detections(raw: Any) -> bool:
    images = raw.get("images") if isinstance(raw, dict) else raw
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "file" in first and {"detections", "failure"} & set(first) != set()


def _json(file: Path) -> Any:
    if file.stat().st_size > _MOST_LOOKED_AT:
        return None
    try:
        return parse_json(file.read_bytes(), str(file))
    except (OSError, DatasetError):
        return None


def _is_photo(path: str) -> bool:
    return Path(path).suffix.lower() in SUFFIXES


def _name(folder: Path) -> str:
    """The folder's name (its parent's for `images` and the like), fit to name a dataset."""
    folder = folder.resolve()
    says_nothing = folder.name.lower() in ("images", "photos", "data", "pictures", "img")
    given = folder.parent.name if says_nothing else folder.name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", given).strip("-._")
    return name[:64] or "photos"

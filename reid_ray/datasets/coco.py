"""Read a collection that is annotated in COCO or COCO Camera Traps JSON.

In: the JSON's images, annotations and categories. Out: one text row per annotation, not yet checked.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from reid_ray.config.datasets import CocoDataset
from reid_ray.datasets import schema
from reid_ray.datasets.listed import parse_json, read_listed
from reid_ray.datasets.roots import Root
from reid_ray.errors import DatasetError

IDENTITY_FIELDS = ("individual_id", "identity", "individual", "name")
CATEGORY = "category"
NOT_ANIMALS = frozenset({"empty", "human", "person", "people", "vehicle", "car"})
"""Categories of camera-trap annotations that show no animal."""

_FROM = {
    "date": ("datetime", "date_captured", "date"),
    "encounter": ("seq_id", "sequence_id", "encounter_id"),
    "location": ("location", "site"),
    "orientation": ("viewpoint", "orientation"),
    "split": ("split",),
}
"""Our column, and the fields (of the annotation, else of its image) that it is taken from."""

COLUMNS = ("image_id", "identity", "path", "bbox", "segmentation", "species", *_FROM)
"""What every row may have; empty columns are left out."""

_TWICE = "an image of this id is listed before it and kept"

Entry = Mapping[str, Any]


def read_coco(dataset: CocoDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """A row per annotation of an animal; images without annotations are photos of unknown animals.

    Returns:
        The rows, and faults for annotations of images that are not listed, and images listed twice.

    Raises:
        DatasetError: not such a JSON, or nothing in it names individuals.
    """
    where, data = read_listed(
        dataset.name, dataset.annotations, root, what="annotations", kinds="a COCO .json file"
    )
    listed, annotations, categories = _lists(parse_json(data, where), where)
    images = {str(image.get("id")): image for image in reversed(listed)}
    field = _identity_field(dataset, annotations, images, where)
    rows: list[dict[str, str]] = []
    faults = [
        (dataset.name, str(image.get("id")), str(image.get("file_name", "")), _TWICE)
        for image in listed
        if images[str(image.get("id"))] is not image
    ]
    used: set[str] = set()
    annotated = {str(entry.get("image_id")) for entry in annotations}
    for entry in annotations:
        image_id = str(entry.get("image_id"))
        image = images.get(image_id)
        species = categories.get(str(entry.get("category_id")), "")
        if image is None:
            reason = f"annotation of image {image_id}, which is not listed under images"
            faults.append((dataset.name, str(entry.get("id", "")), "", reason))
        elif species.lower() not in NOT_ANIMALS:
            # One photo may show several animals, so rows go by annotation where it has an id.
            name = str(entry.get("id", image_id))
            name = name if name not in used else f"{image_id}#{len(used)}"
            used.add(name)
            identity = species if field == CATEGORY else _text(entry, image, (field,))
            rows.append(_row(name, identity, entry, image, species))
    for image_id, image in images.items():
        if image_id not in annotated:
            # Images and annotations are often both numbered from 1.
            name = f"image-{image_id}" if image_id in used else image_id
            rows.append(_row(name, "", {}, image, ""))
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype="str")
    empty = [name for name in COLUMNS[3:] if table[name].eq("").all()]
    return table.drop(columns=empty).rename(columns={"split": schema.SPLIT_GIVEN}), faults


def _row(name: str, identity: str, entry: Entry, image: Entry, species: str) -> dict[str, str]:
    box, shape = entry.get("bbox"), entry.get("segmentation")
    return {
        "image_id": name,
        "identity": identity,
        "path": str(image.get("file_name", "")),
        "bbox": "" if box is None else json.dumps(box),
        "segmentation": json.dumps(shape) if shape else "",
        "species": species,
        **{column: _text(entry, image, fields) for column, fields in _FROM.items()},
    }


def _lists(raw: Any, where: str) -> tuple[list[Entry], list[Entry], dict[str, str]]:
    """Images, annotations, names of categories by id."""
    parts = [
        raw.get(name, []) if isinstance(raw, dict) else None
        for name in ("images", "annotations", "categories")
    ]
    entries = [item for part in parts if isinstance(part, list) for item in part]
    if not all(isinstance(part, list) for part in parts) or not all(
        isinstance(entry, dict) for entry in entries
    ):
        raise DatasetError(
            f"{where}: not COCO; expected a map with lists `images`, `annotations` and `categories`"
        )
    images, annotations, categories = (list(part) for part in parts if part is not None)
    if not images:
        raise DatasetError(f"{where}: its list of images is empty")
    names = {str(kind.get("id")): str(kind.get("name", "")) for kind in categories}
    return images, annotations, names


def _identity_field(
    dataset: CocoDataset, annotations: list[Entry], images: Mapping[str, Entry], where: str
) -> str:
    """The field that names individuals."""
    fields = {name for entry in [*annotations, *images.values()] for name in entry}
    if dataset.identity == CATEGORY or dataset.identity in fields:
        return dataset.identity or CATEGORY
    if dataset.identity is None:
        for name in IDENTITY_FIELDS:
            if name in fields:
                return name
    wanted = [dataset.identity] if dataset.identity else list(IDENTITY_FIELDS)
    raise DatasetError(
        f"{where}: none of {wanted} names the individual; annotations and images have "
        f"{sorted(fields)}; set identity to one of them, or to `{CATEGORY}` where each category is "
        "an animal"
    )


def _text(entry: Entry, image: Entry, fields: Iterable[str]) -> str:
    """The first of the fields that is filled; a list of one name is that name."""
    for source in (entry, image):
        for field in fields:
            value = source.get(field)
            if isinstance(value, list):
                value = value[0] if len(value) == 1 else None
            if isinstance(value, str | int | float) and value != "":
                return str(value)
    return ""

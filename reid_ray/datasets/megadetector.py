"""Give photos the box of their animal from MegaDetector's or SpeciesNet's results.

In: rows of photos and a results file. Out: the rows with `bbox`, more of them where a photo shows
several unknown animals.

Two formats are in use under MegaDetector's name. The one of its repository is a map whose boxes are
[x, y, width, height] in shares of the photo; the one that the `megadetector` command of PyTorch-Wildlife
writes is a list whose boxes are [x1, y1, x2, y2] in pixels. SpeciesNet's `predictions.json` is a map of
`predictions`, each with `filepath` and such detections in shares.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from reid_ray.config.datasets import Detections
from reid_ray.datasets import schema
from reid_ray.datasets.boxes import has_bbox
from reid_ray.datasets.intake import BoxCount
from reid_ray.datasets.listed import parse_json, read_listed
from reid_ray.datasets.paths import PathFinder, Resolved
from reid_ray.datasets.roots import Root
from reid_ray.errors import DatasetError

ANIMAL = "animal"


class Boxed(NamedTuple):
    """Rows with boxes.

    Attributes:
        faults: photos without a box, where `detections.without` quarantines them.
        names: what the file's names mean.
        boxes: count of photos with and without a box.
    """

    rows: pd.DataFrame
    faults: list[schema.Fault]
    names: Resolved
    boxes: BoxCount


class Box(NamedTuple):
    """Where an animal is: [x, y, w, h] in pixels or, wholly within 0..1, in shares; how sure, 0..1."""

    confidence: float
    xywh: tuple[float, float, float, float]


def add_boxes(rows: pd.DataFrame, detections: Detections, root: Root, *, dataset: str) -> Boxed:
    """`bbox` for each photo that has none of its own.

    Raises:
        DatasetError: not a detector's results, or none of the photos is in them.
    """
    where, data = read_listed(
        dataset, detections.file, root, what="detections", kinds="MegaDetector's .json file"
    )
    raw = parse_json(data, where)
    boxes = read_boxes(raw, where, min_confidence=detections.min_confidence)
    named, names = _by_row(rows["path"], boxes)
    if not any(boxes_of is not None for boxes_of in named):
        several = names.count("several")
        raise DatasetError(
            f"{where}: has none of the {len(rows)} photos of {dataset}"
            + (f", as {several} of its names fit several photos each" if several else "")
            + f"; it lists for example {next(iter(boxes), 'nothing')}, the photos are for example "
            f"{rows['path'].iloc[0]}; run the detector on the folder that holds all of them"
        )
    own = rows["bbox"] if "bbox" in rows else pd.Series("", rows.index, dtype="str")
    unknown = schema.clean_identities(rows["identity"]).eq(schema.UNKNOWN)
    records, faults = [], []
    for row, found, box, nameless in zip(
        rows.assign(bbox=own).to_dict("records"), named, own, unknown, strict=True
    ):
        if has_bbox(box) or not found:
            if not has_bbox(box) and detections.without == "quarantine":
                reason = "no animal was detected" if found is not None else "not in the detections"
                faults.append((dataset, row["image_id"], row["path"], reason))
            else:
                records.append(row)
            continue
        kept = found if detections.several == "all" and nameless else found[:1]
        for number, one in enumerate(kept):
            name = row["image_id"] if number == 0 else f"{row['image_id']}#{number + 1}"
            records.append(row | {"image_id": name, "bbox": json.dumps(one.xywh)})
    failed = _failed(raw, names)
    lost = [
        path
        for path, found, box in zip(rows["path"], named, own, strict=True)
        if not (found or has_bbox(box))
    ]
    listed = {path for path, found in zip(rows["path"], named, strict=True) if found is not None}
    count = BoxCount(
        photos=len(rows),
        boxed=len(rows) - len(lost),
        file=where.rpartition("/")[2],
        unlisted=sum(path not in listed for path in lost),
        failed=sum(path in listed and path in failed for path in lost),
        empty=sum(path in listed and path not in failed for path in lost),
    )
    table = pd.DataFrame(records, columns=[*rows.columns.union(["bbox"], sort=False)])
    return Boxed(table, faults, names, count)


def read_boxes(raw: Any, where: str, *, min_confidence: float) -> dict[str, list[Box]]:
    """Animal boxes of each file, the surest first; an empty list where none is sure enough.

    Raises:
        DatasetError: neither of the two formats.
    """
    try:
        pairs = _shares(raw) if isinstance(raw, dict) else _corners(raw)
        found: dict[str, list[Box]] = defaultdict(list)
        for file, boxes in pairs:  # a file may be listed by each of several runs
            found[str(file)] += (box for box in boxes if box.confidence >= min_confidence)
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DatasetError(
            f"{where}: not MegaDetector's results ({type(error).__name__}: {error}); expected a map "
            "with `images`, or a list, each item with `file` and `detections`"
        ) from None
    return {file: sorted(boxes, reverse=True) for file, boxes in found.items()}


def is_results(raw: Any) -> bool:
    """Whether a JSON is a detector's results, by its first photo."""
    first: Any = next(iter(photos_in(raw)), None)
    if not isinstance(first, dict) or not {"file", "filepath"} & set(first):
        return False
    return bool({"detections", "failure", "failures"} & set(first))


def photos_in(raw: Any) -> list[Any]:
    """The results of photos in any of the formats; none where it is no such file."""
    found = raw.get("images", raw.get("predictions")) if isinstance(raw, dict) else raw
    return found if isinstance(found, list) else []


def _failed(raw: Any, names: Resolved) -> set[str]:
    """Photos that the detector could not read."""
    return {
        names.by_name[file].path
        for image in photos_in(raw)
        if image.get("failure") or (image.get("failures") and not image.get("detections"))
        if (file := str(image.get("file", image.get("filepath")))) in names.by_name
    }


def _shares(raw: dict[str, Any]) -> Iterator[tuple[str, list[Box]]]:
    """The repository's format and SpeciesNet's; a photo that could not be read has no detections."""
    categories = raw.get("detection_categories") or {"1": ANIMAL}
    for image in raw["predictions"] if "predictions" in raw else raw["images"]:
        boxes = []
        for found in image.get("detections") or ():
            category = found.get("label", categories.get(str(found["category"])))
            if str(category).lower() == ANIMAL:
                x, y, w, h = (float(side) for side in found["bbox"])
                # Rounding may push a box past the edge, where it would be taken for pixels.
                x, y = max(x, 0.0), max(y, 0.0)
                box = (x, y, min(w, 1 - x), min(h, 1 - y))
                boxes.append(_finite(float(found["conf"]), box))
        yield image["filepath"] if "predictions" in raw else image["file"], boxes


def _corners(raw: list[Any]) -> Iterator[tuple[str, list[Box]]]:
    """PyTorch-Wildlife's list."""
    for image in raw:
        boxes = []
        for found in image["detections"]:
            if str(found["category"]).lower() in (ANIMAL, "0"):
                left, top, right, bottom = (float(side) for side in found["bbox"])
                boxes.append(_finite(float(found["confidence"]), (left, top, right - left, bottom - top)))
        yield image["file"], boxes


def _finite(confidence: float, box: tuple[float, float, float, float]) -> Box:
    if not all(map(math.isfinite, (confidence, *box))):
        raise ValueError(f"a box is {box} with confidence {confidence}; expected finite numbers")
    return Box(confidence, box)


def _by_row(paths: pd.Series, boxes: dict[str, list[Box]]) -> tuple[list[list[Box] | None], Resolved]:
    """Boxes of each path, None where its file is not listed; and what the listed names mean.

    A detector is often run from another folder, or before photos were sorted, so names need not be those
    of the paths; see `PathFinder`.
    """
    names = PathFinder(list(dict.fromkeys(paths))).find(boxes)
    by_path: dict[str, list[Box]] = {}
    for name, match in names.by_name.items():
        if match.path:  # a file may be listed in two spellings
            by_path[match.path] = sorted([*by_path.get(match.path, []), *boxes[name]], reverse=True)
    return [by_path.get(path) for path in paths], names

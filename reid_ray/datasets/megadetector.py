"""Give photos the box of their animal from MegaDetector's results.

In: rows of photos and a results file. Out: the rows with `bbox`, more of them where a photo shows
several unknown animals.

Two formats are in use under one name. The one of the MegaDetector repository is a map whose boxes are
[x, y, width, height] in shares of the photo; the one that the `megadetector` command of PyTorch-Wildlife
writes is a list whose boxes are [x1, y1, x2, y2] in pixels.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pandas as pd

from reid_ray.config.datasets import Detections
from reid_ray.datasets import schema
from reid_ray.datasets.listed import parse_json, read_listed
from reid_ray.datasets.roots import Root
from reid_ray.datasets.table import has_bbox
from reid_ray.errors import DatasetError

ANIMAL = "animal"


class Box(NamedTuple):
    """Where an animal is: [x, y, w, h] in pixels or, wholly within 0..1, in shares; how sure, 0..1."""

    confidence: float
    xywh: tuple[float, float, float, float]


def add_boxes(
    rows: pd.DataFrame, detections: Detections, root: Root, *, dataset: str
) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """`bbox` for each photo that has none of its own.

    Returns:
        The rows, and faults for photos without a box where `detections.without` puts them aside.

    Raises:
        DatasetError: not MegaDetector's results, or none of the photos is in them.
    """
    where, data = read_listed(
        dataset, detections.file, root, what="detections", kinds="MegaDetector's .json file"
    )
    boxes = read_boxes(parse_json(data, where), where, min_confidence=detections.min_confidence)
    named = _by_row(rows["path"], boxes)
    if not any(boxes_of is not None for boxes_of in named):
        raise DatasetError(
            f"{where}: has none of the {len(rows)} photos of {dataset}; it lists for example "
            f"{next(iter(boxes), 'nothing')}, the photos are for example {rows['path'].iloc[0]}"
        )
    own = rows["bbox"] if "bbox" in rows else pd.Series("", rows.index, dtype="str")
    unknown = schema.clean_identities(rows["identity"]).eq(schema.UNKNOWN)
    records, faults = [], []
    for row, found, box, nameless in zip(
        rows.assign(bbox=own).to_dict("records"), named, own, unknown, strict=True
    ):
        if has_bbox(box) or not found:
            if not has_bbox(box) and detections.without == "aside":
                reason = "no animal was detected" if found is not None else "not in the detections"
                faults.append((dataset, row["image_id"], row["path"], reason))
            else:
                records.append(row)
            continue
        kept = found if detections.several == "all" and nameless else found[:1]
        for number, one in enumerate(kept):
            name = row["image_id"] if number == 0 else f"{row['image_id']}#{number + 1}"
            records.append(row | {"image_id": name, "bbox": json.dumps(one.xywh)})
    return pd.DataFrame(records, columns=[*rows.columns.union(["bbox"], sort=False)]), faults


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


def _shares(raw: dict[str, Any]) -> Iterator[tuple[str, list[Box]]]:
    """The repository's format; a photo that could not be read has `failure` and no detections."""
    categories = raw.get("detection_categories") or {"1": ANIMAL}
    for image in raw["images"]:
        boxes = []
        for found in image.get("detections") or ():
            if str(categories.get(str(found["category"]))).lower() == ANIMAL:
                x, y, w, h = (float(side) for side in found["bbox"])
                # Rounding may push a box past the edge, where it would be taken for pixels.
                x, y = max(x, 0.0), max(y, 0.0)
                box = (x, y, min(w, 1 - x), min(h, 1 - y))
                boxes.append(_finite(float(found["conf"]), box))
        yield image["file"], boxes


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


def _by_row(paths: pd.Series, boxes: dict[str, list[Box]]) -> list[list[Box] | None]:
    """Boxes of each path; None where its file is not listed.

    A detector is often run from another folder, so a file also counts as the one path that it ends
    with (or that ends with it), if there is just one.
    """
    tails: dict[str, list[str]] = defaultdict(list)
    for file in boxes:
        tails[PurePosixPath(file.replace("\\", "/")).name].append(file)
    found: list[list[Box] | None] = []
    for path in paths:
        if path in boxes:
            found.append(boxes[path])
            continue
        near = [
            file
            for file in tails.get(PurePosixPath(path).name, ())
            if _ends_with(file.replace("\\", "/"), path) or _ends_with(path, file)
        ]
        found.append(boxes[near[0]] if len(near) == 1 else None)
    return found


def _ends_with(longer: str, shorter: str) -> bool:
    return longer == shorter or longer.endswith("/" + shorter.lstrip("/"))

"""Turn the collections of a config into one checked table of photos.

In: `Data`. Out: `LoadedRows`: rows that can be read, and the photos quarantined with the reason.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, assert_never

import pandas as pd

from reid_ray.config.datasets import (
    CamtrapDataset,
    CocoDataset,
    Data,
    Dataset,
    FolderDataset,
    Images,
    PhotoDataset,
    SyntheticDataset,
    TableDataset,
    WildbookDataset,
)
from reid_ray.datasets import schema
from reid_ray.datasets.boxes import parse_bbox
from reid_ray.datasets.camtrap import read_camtrap
from reid_ray.datasets.coco import read_coco
from reid_ray.datasets.columns import columns_read
from reid_ray.datasets.cutout import CROP
from reid_ray.datasets.dates import read_dates
from reid_ray.datasets.encounters import ENCOUNTER, derive_encounters
from reid_ray.datasets.folder import read_folder
from reid_ray.datasets.intake import BoxCount, Intake
from reid_ray.datasets.megadetector import add_boxes
from reid_ray.datasets.paths import SEVERAL, PathFinder
from reid_ray.datasets.roots import Root, open_root
from reid_ray.datasets.table import read_table
from reid_ray.datasets.wildbook import read_wildbook
from reid_ray.errors import DatasetError

_TWICE = "image_id is given twice; the first row is kept"
_AGAIN = "the same photo, animal and box are listed twice; the first row is kept"
_LONGEST_NAME = 500
"""Of an animal; a longer one is a cell that went wrong, and no page could show it."""


class LoadedRows(NamedTuple):
    """Photos of all collections.

    Attributes:
        rows: datasets in config order, then image_id ascending (as numbers if all are integers);
            optional text columns are "" where a collection has none, `bbox` is then None.
        quarantine: dataset, image_id, path, reason.
        intakes: what was noticed of each collection.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame
    intakes: tuple[Intake, ...] = ()


class _One(NamedTuple):
    rows: pd.DataFrame
    faults: list[schema.Fault]
    intake: Intake


def load_rows(data: Data, *, made: Path) -> LoadedRows:
    """Read every collection; synthetic collections are generated below `made`.

    Raises:
        DatasetError: a collection as a whole is unusable: no root, no column, nothing left, or more
            than `data.images.max_bad_share` of it quarantined.
    """
    found = _joined([_load_one(dataset, data.images, made=made) for dataset in data.datasets])
    if data.images.crop == "mask":
        own = found.rows[CROP] if CROP in found.rows else pd.Series(None, found.rows.index, dtype=object)
        found.rows[CROP] = own.where(own.notna() & own.ne(""), "mask").astype("str")
    return found


def expected_rows(data: Data, *, made: Path) -> LoadedRows:
    """`load_rows` for a look ahead: synthetic collections that are not there yet are counted, not
    rendered."""
    loaded = []
    for dataset in data.datasets:
        if isinstance(dataset, SyntheticDataset):
            from reid_ray.datasets.synthetic import synthetic_table

            loaded.append(_One(_named(synthetic_table(dataset), dataset, ""), [], Intake(dataset.name)))
        else:
            loaded.append(_load_one(dataset, data.images, made=made))
    return _joined(loaded)


def _joined(loaded: list[_One]) -> LoadedRows:
    faults = [fault for one in loaded for fault in one.faults]
    intakes = tuple(one.intake for one in loaded)
    return LoadedRows(_join([one.rows for one in loaded]), schema.quarantine(faults), intakes)


def refuse_bad_share(dataset: str, *, bad: int, total: int, images: Images) -> None:
    """Stop when too much of a collection was quarantined to trust what is left.

    Raises:
        DatasetError: nothing is left, or more than `images.max_bad_share` is bad.
    """
    if bad >= total or bad > images.max_bad_share * total:
        raise DatasetError(
            f"{dataset}: {bad} of {total} photos cannot be used, "
            f"at most {images.max_bad_share:.0%} may be; see the reasons in the quarantine table, "
            "mend them or raise images.max_bad_share"
        )


def root_of(dataset: PhotoDataset) -> Root:
    """Where the files of a collection are."""
    return open_root(dataset.root, follow_links=dataset.follow_links)


def _load_one(dataset: Dataset, images: Images, *, made: Path) -> _One:
    if isinstance(dataset, SyntheticDataset):
        # Imported here: it renders pictures, which most runs never need.
        from reid_ray.datasets.synthetic import synthetic_root

        made_at = synthetic_root(made, dataset)
        dataset = TableDataset(source="table", name=dataset.name, group=dataset.group, root=made_at)
    root = root_of(dataset)
    if not root.exists():
        raise DatasetError(f"{dataset.name}: no folder {root.text}; set root to its folder")
    raw, faults = _read(dataset, root)
    text_note = raw.attrs.pop("note", "")
    intake = Intake(dataset.name)
    checked: dict[str, str | None] = {}
    if not isinstance(dataset, FolderDataset):
        raw, intake = _found(raw, dataset, root, checked)
    raw, intake = _dated(raw, replace(intake, text_note=text_note))
    own_ids = "image_id" in raw
    if not own_ids:
        raw.insert(0, "image_id", schema.make_ids(raw))
    if dataset.encounter_from is not None and len(raw):
        raw[ENCOUNTER] = derive_encounters(raw, dataset.encounter_from, dataset=dataset.name)
    if dataset.side_from is not None and len(raw):
        setting = {"dataset": dataset.name, "setting": "side_from"}
        raw[schema.ORIENTATION] = derive_encounters(raw, dataset.side_from, **setting)
    if dataset.detections and len(raw):
        boxed = add_boxes(raw, dataset.detections, root, dataset=dataset.name)
        raw, faults = boxed.rows, faults + boxed.faults
        intake = replace(intake, detected=boxed.names, boxes=boxed.boxes)
    total = len(raw) + len(faults)
    if total == 0:
        raise DatasetError(f"{dataset.name}: no photo found in {dataset.root}; check root and its files")
    checked |= {path: root.fault(path) for path in raw["path"].unique() if path not in checked}
    kind = dataset.crop or images.crop
    cut = kind == "bbox" or dataset.keypoints != "all"
    rows, bad = _check(raw, dataset, root.text, checked, crop=cut, own_ids=own_ids)
    if dataset.crop is not None or dataset.keypoints != "all":
        rows[CROP] = kind
    if dataset.keypoints != "all":
        rows[schema.KEYPOINTS] = dataset.keypoints
    faults = faults + bad
    if not len(rows):
        reasons = sorted({reason for *_, reason in faults})[:3]
        told = f"; {intake.paths.sentence()}" if intake.paths else ""
        raise DatasetError(f"{dataset.name}: none of {total} photos can be used: {'; '.join(reasons)}{told}")
    refuse_bad_share(dataset.name, bad=len(faults), total=total, images=images)
    schema.refuse_collisions(rows["identity"], dataset=dataset.name)
    if intake.boxes is None and "bbox" in rows and (boxes := int(rows["bbox"].notna().sum())):
        intake = replace(intake, boxes=BoxCount(len(rows), boxes))
    return _One(rows, faults, intake)


def _found(
    raw: pd.DataFrame, dataset: PhotoDataset, root: Root, checked: dict[str, str | None]
) -> tuple[pd.DataFrame, Intake]:
    """Rows with the paths of the files that the listing means; what is not found stays as written.

    Args:
        checked: is filled with the fault, or None, of each name as written.
    """
    names = [str(name) for name in raw["path"].unique()]
    checked |= {name: root.fault(name) for name in names}
    known = {name for name, fault in checked.items() if not _unfound(fault)}
    # The folder is gone through only where it must be.
    files = root.inventory().files if len(known) < len(names) else ()
    found = PathFinder(files).find([name for name in names if name], known=known)
    paths = {name: match.path for name, match in found.by_name.items() if match.path}
    raw = raw.assign(path=raw["path"].map(lambda name: paths.get(name, name)).astype("str"))
    several = {name for name, match in found.by_name.items() if match.how == "several"}
    if several:
        raw["_fault"] = raw["path"].map(lambda name: SEVERAL if name in several else None)
    used: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    if isinstance(dataset, TableDataset):
        used, unused = columns_read(dataset, [str(name) for name in raw if name != "_fault"])
    return raw, Intake(dataset.name, paths=found, used=used, unused=unused)


def _unfound(fault: str | None) -> bool:
    """Whether a file might still be found by another spelling of its path."""
    return fault is not None and fault.startswith(("missing file", "path is absolute", "no path"))


def _dated(raw: pd.DataFrame, intake: Intake) -> tuple[pd.DataFrame, Intake]:
    if "date" not in raw:
        return raw, intake
    dates = read_dates(raw["date"])
    return raw.assign(date=dates.texts), replace(intake, date_note=dates.note, date_problem=dates.problem)


def _read(dataset: PhotoDataset, root: Root) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """Rows as the source has them."""
    match dataset:
        case FolderDataset():
            return read_folder(dataset, root)
        case TableDataset():
            return read_table(dataset, root)
        case CocoDataset():
            return read_coco(dataset, root)
        case WildbookDataset():
            return read_wildbook(dataset, root)
        case CamtrapDataset():
            return read_camtrap(dataset, root)
    assert_never(dataset)


def _check(
    raw: pd.DataFrame,
    dataset: PhotoDataset,
    root: str,
    checked: Mapping[str, str | None],
    *,
    crop: bool,
    own_ids: bool,
) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """Clean the columns, quarantine bad rows, sort and name the rest.

    Args:
        checked: why a path cannot be a photo, None if it can.
        own_ids: whether the source has ids of its own.
    """
    rows = raw.assign(
        image_id=schema.clean_text(raw["image_id"]), identity=schema.clean_identities(raw["identity"])
    )
    if "orientation" in rows:
        rows["orientation"] = schema.clean_sides(rows["orientation"])
    reasons = rows["path"].map(checked).astype(object)
    reasons = reasons.where(reasons.notna(), None)
    if "_fault" in rows:
        reasons = rows.pop("_fault").where(lambda fault: fault.notna(), reasons)
    if "bbox" in rows:
        rows["bbox"], box_reasons = _boxes(rows["bbox"])
        if crop:
            reasons = reasons.where(reasons.notna(), box_reasons)
    reasons = reasons.where(reasons.notna() | rows["image_id"].ne(""), "no image_id")
    long = rows["identity"].str.len().gt(_LONGEST_NAME)
    lengths = "identity of " + rows["identity"].str.len().astype(str) + " characters"
    reasons = reasons.where(reasons.notna() | ~long, lengths)
    # The first good row of an id stays, so a missing file cannot displace a present one.
    repeated = rows[reasons.isna()].duplicated("image_id")
    reasons[repeated.index[repeated]] = _TWICE if own_ids else _AGAIN
    bad = rows[reasons.notna()]
    faults = [
        (dataset.name, image_id, path, reason)
        for image_id, path, reason in zip(bad["image_id"], bad["path"], reasons[bad.index], strict=True)
    ]
    return _named(rows[reasons.isna()], dataset, root), faults


def _boxes(cells: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Parsed boxes (None where there is none) and why others could not be parsed."""
    boxes: list[list[float] | None] = []
    reasons: list[str | None] = []
    for cell in cells:
        try:
            boxes.append(parse_bbox(cell))
            reasons.append(None)
        except ValueError as error:
            boxes.append(None)
            reasons.append(str(error))
    return pd.Series(boxes, cells.index, dtype=object), pd.Series(reasons, cells.index, dtype=object)


def _named(rows: pd.DataFrame, dataset: Dataset, root: str) -> pd.DataFrame:
    rows = rows.iloc[schema.ascending(rows["image_id"])]
    if isinstance(dataset, TableDataset) and dataset.group_by:
        groups: Any = schema.clean_groups(
            rows["group"], names=dataset.group_names, default=dataset.domain_group
        )
        schema.refuse_two_groups(rows["identity"], groups, dataset=dataset.name)
    else:
        groups = dataset.domain_group
    front: dict[str, Any] = {
        "key": f"{dataset.name}/" + rows["image_id"],
        "image_id": rows["image_id"],
        "identity": rows["identity"],
        "path": rows["path"],
        "root": root,
        "dataset": dataset.name,
        "group": groups,
    }
    others = {str(name): rows[name] for name in rows if name not in front}
    return pd.DataFrame({**front, **others})


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One table; text a collection does not have is "", a box None."""
    rows = pd.concat(tables, ignore_index=True)
    for name in rows:
        if name == "bbox":
            rows[name] = rows[name].astype(object).where(rows[name].notna(), None)
        else:
            rows[name] = rows[name].fillna("").astype("str")
    return rows

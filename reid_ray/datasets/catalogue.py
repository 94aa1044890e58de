"""Turn the collections of a config into one checked table of photos.

In: `Data`. Out: `LoadedRows`: rows that can be read, and the photos put aside with the reason.
"""

from pathlib import Path
from typing import Any, NamedTuple, assert_never

import pandas as pd

from reid_ray.config.datasets import (
    CocoDataset,
    Data,
    Dataset,
    FolderDataset,
    HerdDataset,
    Images,
    PhotoDataset,
    TableDataset,
    WildbookDataset,
)
from reid_ray.datasets import schema
from reid_ray.datasets.coco import read_coco
from reid_ray.datasets.encounters import ENCOUNTER, derive_encounters
from reid_ray.datasets.folder import read_folder
from reid_ray.datasets.megadetector import add_boxes
from reid_ray.datasets.roots import Root, open_root
from reid_ray.datasets.table import parse_bbox, read_table
from reid_ray.datasets.wildbook import read_wildbook
from reid_ray.errors import DatasetError

_LONGEST_NAME = 500
"""Of an animal; a longer one is a cell that went wrong, and no page could show it."""


class LoadedRows(NamedTuple):
    """Photos of all collections.

    Attributes:
        rows: datasets in config order, then image_id ascending (as numbers if all are integers);
            optional text columns are "" where a collection has none, `bbox` is then None.
        quarantine: dataset, image_id, path, reason.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame


def load_rows(data: Data, *, made: Path) -> LoadedRows:
    """Read every collection; herds are generated below `made`.

    Raises:
        DatasetError: a collection as a whole is unusable: no root, no column, nothing left, or more
            than `data.images.max_bad_share` of it put aside.
    """
    tables, faults = [], []
    for dataset in data.datasets:
        rows, bad = _load_one(dataset, data.images, made=made)
        tables.append(rows)
        faults += bad
    return LoadedRows(_join(tables), schema.quarantine(faults))


def expected_rows(data: Data, *, made: Path) -> LoadedRows:
    """`load_rows` for a look ahead: herds that are not there yet are counted, not rendered."""
    tables, faults = [], []
    for dataset in data.datasets:
        if isinstance(dataset, HerdDataset):
            from reid_ray.datasets.herd import herd_table

            tables.append(_named(herd_table(dataset), dataset, ""))
        else:
            rows, bad = _load_one(dataset, data.images, made=made)
            tables.append(rows)
            faults += bad
    return LoadedRows(_join(tables), schema.quarantine(faults))


def refuse_bad_share(dataset: str, *, bad: int, total: int, images: Images) -> None:
    """Stop when too much of a collection was put aside to trust what is left.

    Raises:
        DatasetError: nothing is left, or more than `images.max_bad_share` is bad.
    """
    if bad >= total or bad > images.max_bad_share * total:
        raise DatasetError(
            f"{dataset}: {bad} of {total} photos cannot be used, "
            f"at most {images.max_bad_share:.0%} may be; see the reasons in the quarantine table, "
            "mend them or raise images.max_bad_share"
        )


def _load_one(dataset: Dataset, images: Images, *, made: Path) -> tuple[pd.DataFrame, list[schema.Fault]]:
    if isinstance(dataset, HerdDataset):
        # Imported here: it renders pictures, which most runs never need.
        from reid_ray.datasets.herd import herd_root

        root_of_herd = herd_root(made, dataset)
        dataset = TableDataset(source="table", name=dataset.name, group=dataset.group, root=root_of_herd)
    root = open_root(dataset.root)
    if not root.exists():
        raise DatasetError(f"{dataset.name}: no folder {root.text}; set root to its folder")
    raw, faults = _read(dataset, root)
    if dataset.encounter_from is not None and len(raw):
        raw[ENCOUNTER] = derive_encounters(raw, dataset.encounter_from, dataset=dataset.name)
    if dataset.detections:
        raw, without = add_boxes(raw, dataset.detections, root, dataset=dataset.name)
        faults = faults + without
    total = len(raw) + len(faults)
    if total == 0:
        raise DatasetError(f"{dataset.name}: no photo found in {dataset.root}; check root and its files")
    rows, bad = _check(raw, dataset, root, crop=images.crop == "bbox")
    faults = faults + bad
    if not len(rows):
        reasons = sorted({reason for *_, reason in faults})[:3]
        raise DatasetError(f"{dataset.name}: none of {total} photos can be used: {'; '.join(reasons)}")
    refuse_bad_share(dataset.name, bad=len(faults), total=total, images=images)
    schema.refuse_collisions(rows["identity"], dataset=dataset.name)
    return rows, faults


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
    assert_never(dataset)


def _check(
    raw: pd.DataFrame, dataset: PhotoDataset, root: Root, *, crop: bool
) -> tuple[pd.DataFrame, list[schema.Fault]]:
    """Clean the columns, put bad rows aside, sort and name the rest."""
    rows = raw.assign(
        image_id=schema.clean_text(raw["image_id"]), identity=schema.clean_identities(raw["identity"])
    )
    reasons = pd.Series([root.fault(path) for path in rows["path"]], rows.index, dtype=object)
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
    reasons[repeated.index[repeated]] = "image_id is given twice; the first row is kept"
    bad = rows[reasons.notna()]
    faults = [
        (dataset.name, image_id, path, reason)
        for image_id, path, reason in zip(bad["image_id"], bad["path"], reasons[bad.index], strict=True)
    ]
    return _named(rows[reasons.isna()], dataset, root.text), faults


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

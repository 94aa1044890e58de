"""Guess what a table's columns mean, by what they are called and by what is in them.

In: a table's cells and the files beside it. Out: names of columns for the config, and sentences on them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from reid_ray.config.datasets import ColumnNames
from reid_ray.datasets.boxes import from_sides, has_bbox, parse_bbox, to_xywh
from reid_ray.datasets.columns import join_paths
from reid_ray.datasets.kinds import SUFFIXES, suffix_of
from reid_ray.datasets.paths import PathFinder, Resolved

SURE = (
    *("identity", "individual", "individualid", "individualname", "individualidentity", "individualcode"),
    *("individuals", "animal", "animalid", "animalname", "markedindividual", "markedindividualid"),
    *("indid", "individ", "indiv", "individu", "individuo", "tier", "tiername", "matchedindividual"),
)
UNSURE = ("nickname", "subject", "subjectid", "animalcode", "name", "label", "code", "class", "id")
"""May name the animal, but often number rows or name something else."""
SYNONYMS = {
    "path": (
        *("path", "file", "filename", "filepath", "image", "imagepath", "imagename", "imagefile", "photo"),
        *("photoname", "picture", "img", "sourcefile", "fullpath", "relativepath", "mediapath", "media"),
    ),
    "image_id": ("imageid", "photoid"),
    "date": (
        *("date", "datetime", "timestamp", "datetimeoriginal", "dateoriginal", "datecaptured", "capturedon"),
        *("captureddate", "eventdate", "photodate", "createdate", "day", "datum", "fecha"),
    ),
    "orientation": ("orientation", "viewpoint", "side", "flank", "view", "bodyside", "sideseen", "pose"),
    "species": ("species", "taxon", "scientificname", "speciesname", "commonname"),
    "bbox": ("bbox", "box", "boundingbox"),
    "split": ("split", "set", "subset", "partition"),
    "encounter": (
        *("encounter", "encounterid", "sequenceid", "seqid", "sequence", "eventid", "event", "episode"),
        *("burstid", "burst", "occurrenceid", "sighting", "sightingid"),
    ),
    "location": (
        *("location", "locationid", "locationname", "site", "siteid", "sitename", "station", "stationid"),
        *("placename", "deploymentid", "deployment", "cameraid", "camera", "cameratrap", "trap", "trapid"),
        "plot",
    ),
}
"""What people call our columns: letters and digits alone, in lower case, the likeliest first."""
FOLDERS = ("relativepath", "folder", "directory", "dir", "subfolder", "filefolder", "path")
_SIDES = {
    "xywh": (
        *(("bboxx", "bboxy", "bboxw", "bboxh"), ("bboxx", "bboxy", "bboxwidth", "bboxheight")),
        *(("bbox1", "bbox2", "bbox3", "bbox4"), ("x", "y", "w", "h"), ("x", "y", "width", "height")),
        *(("boxx", "boxy", "boxw", "boxh"), ("left", "top", "width", "height")),
    ),
    "xyxy": (
        *(("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("left", "top", "right", "bottom")),
        *(("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"), ("bboxx1", "bboxy1", "bboxx2", "bboxy2")),
    ),
}
_CORNER_NAMES = ("bboxxyxy", "xyxy", "boxxyxy")
_LOOKED_AT = 500


@dataclass(frozen=True)
class Guess:
    """What a table's columns seem to mean.

    Attributes:
        columns: for the config.
        files: what its names of files mean.
        named: rows whose file is there and whose animal is named.
        sentences: on what was chosen.
        fault: why no animal is named, "" if one is.
    """

    columns: ColumnNames
    files: Resolved
    listed: int
    named: int
    sentences: list[str] = field(default_factory=list)
    fault: str = ""


def plain(name: str) -> str:
    """A column's name without what people vary: `Animal ID`, `animal_id` and `animalId` are one."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def guess_columns(table: pd.DataFrame, finder: PathFinder, *, identity: str | None) -> Guess | None:
    """The columns of a table of photos; None where no column names files.

    Args:
        table: all cells as text.
        identity: the column that names the animal, where somebody said so.
    """
    by_name = {plain(str(name)): str(name) for name in reversed(list(table))}
    chosen = _paths(table, by_name, finder)
    if chosen is None:
        return None
    folder, file, files, found = chosen
    taken = {folder, file}
    animal, fault = (identity, "") if identity else _identity(table, by_name, taken)
    columns: dict[str, object] = {"path": file, "identity": animal or "", "folder": folder}
    for ours, synonyms in SYNONYMS.items():
        if ours not in ("path", "bbox"):
            usable = [by_name[name] for name in synonyms if name in by_name and by_name[name] not in taken]
            usable = [name for name in usable if name != animal and _fits(ours, table[name])]
            columns[ours] = usable[0] if usable else ""
    columns |= _boxes(table, by_name)
    named = found & table[animal].str.strip().ne("") if animal in table else found & False
    names = ColumnNames(**{ours: name for ours, name in columns.items() if _differs(ours, name, table)})  # type: ignore[arg-type]
    return Guess(names, files, int(found.sum()), int(named.sum()), _sentences(names, table), fault)


def _differs(ours: str, name: object, table: pd.DataFrame) -> bool:
    """Whether a setting is needed: a default does no harm where the table has no such column."""
    return name != ours and not (name == "" and ours not in table and ours not in ("identity", "path"))


def _paths(
    table: pd.DataFrame, by_name: Mapping[str, str], finder: PathFinder
) -> tuple[str, str, Resolved, pd.Series] | None:
    """The folder's column ("" if none is needed), the file's, what its names mean, rows that are there."""
    order = {by_name[name]: place for place, name in enumerate(SYNONYMS["path"]) if name in by_name}
    files = [str(name) for name in table if _names_photos(table[name])]
    files += [name for name in order if name not in files]
    best: tuple[str, str, Resolved, pd.Series] | None = None
    most = (0, 0)
    for file in sorted(files, key=lambda name: order.get(name, len(SYNONYMS["path"]))):
        folders = [by_name[name] for name in FOLDERS if name in by_name and by_name[name] != file]
        for folder in ["", *(name for name in folders if not _names_photos(table[name]))]:
            cells = table[file] if not folder else join_paths(table[folder], table[file])
            resolved = finder.find(cells[cells.ne("")].unique())
            there = {name for name, match in resolved.by_name.items() if match.path and _is_photo(match.path)}
            found = cells.isin(there)
            exact = resolved.count("exact") if len(there) else 0
            if best is None or (found.sum(), exact) > most:
                best, most = (folder, file, resolved, found), (found.sum(), exact)
            if found.all():
                break
    return best


def _names_photos(cells: pd.Series) -> bool:
    return any(suffix_of(cell.strip().replace("\\", "/")) in SUFFIXES for cell in cells[:_LOOKED_AT])


def _is_photo(path: str) -> bool:
    return suffix_of(path) in SUFFIXES or suffix_of(path) == ""


def _identity(table: pd.DataFrame, by_name: Mapping[str, str], taken: set[str]) -> tuple[str | None, str]:
    """The column that names the animals, or why there is none.

    Where every row says something else, a column numbers rows; a sure name may still mean a catalogue of
    one photo per animal.
    """
    sure = [by_name[name] for name in SURE if name in by_name]
    sure += [name for key, name in by_name.items() if "individual" in key and name not in sure]
    unsure = [by_name[name] for name in UNSURE if name in by_name]
    filled = [name for name in (*sure, *unsure) if name not in taken and table[name].str.strip().ne("").any()]
    repeated = [name for name in filled if _repeats(table[name])]
    usable = repeated or [name for name in filled if name in sure]
    if usable:
        return usable[0], ""
    if filled:
        return None, f"column '{filled[0]}' differs in every row, so it numbers rows and names no animal"
    if sure:
        return None, f"column '{sure[0]}' is empty"
    return None, f"none of its columns {[str(name) for name in table]} names the animal"


def _repeats(cells: pd.Series) -> bool:
    filled = cells[cells.str.strip().ne("")]
    return len(filled) < 3 or filled.nunique() < len(filled)


def _fits(ours: str, cells: pd.Series) -> bool:
    """Whether cells can be what a column's name promises."""
    filled = cells[cells.str.strip().ne("")]
    if not len(filled):
        return False
    if ours == "image_id":
        return filled.is_unique and len(filled) == len(cells)
    if ours in ("location", "encounter", "orientation", "species"):
        return not _names_photos(cells)
    return True


def _boxes(table: pd.DataFrame, by_name: Mapping[str, str]) -> dict[str, object]:
    """The columns that hold boxes, as far as these can be read."""
    for name in SYNONYMS["bbox"]:
        if name in by_name and _reads(table[by_name[name]]):
            return {"bbox": by_name[name]}
    for name in _CORNER_NAMES:
        if name in by_name and _reads(table[by_name[name]].map(to_xywh)):
            return {"bbox": by_name[name], "bbox_kind": "xyxy"}
    for kind, all_sides in _SIDES.items():
        for sides in all_sides:
            if set(sides) <= set(by_name):
                names = tuple(by_name[side] for side in sides)
                corners = kind == "xyxy"
                if _reads(from_sides([table[name][:_LOOKED_AT] for name in names], corners=corners)):
                    return {"bbox_sides": names, "bbox": "", **({"bbox_kind": "xyxy"} if corners else {})}
    return {"bbox": ""}


def _reads(cells: pd.Series) -> bool:
    """Whether most of the first cells that say anything are boxes."""
    filled = [cell for cell in cells[:_LOOKED_AT] if has_bbox(cell)]
    good = 0
    for cell in filled:
        try:
            good += parse_bbox(cell) is not None
        except ValueError:
            continue
    return 2 * good > len(filled)


def _sentences(columns: ColumnNames, table: pd.DataFrame) -> list[str]:
    told = [
        f"column '{theirs}' is read as {ours}"
        for ours, theirs in columns.single.items()
        if theirs != ours and theirs in table
    ]
    if columns.folder:
        told.append(f"column '{columns.folder}' is read as the folder of '{columns.path}'")
    if columns.bbox_sides:
        told.append(f"columns {', '.join(columns.bbox_sides)} are read as boxes ({columns.bbox_kind})")
    if columns.split in table:
        told.append(
            f"column '{columns.split}' holds a split of its own; to use it set data.split to {{kind: given}}"
        )
    return told


def shown(names: Sequence[str]) -> str:
    """A few names."""
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")

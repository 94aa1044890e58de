"""Name the columns of the table of photos and clean what fills them.

In: identities and ids as the source wrote them. Out: the same, stripped and NFC, or an error.
"""

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.errors import DatasetError

UNKNOWN = "unknown"
"""Identity of an animal nobody has named: never trained on, never a reference."""

KEY, IMAGE_ID, IDENTITY, PATH = "key", "image_id", "identity", "path"
ROOT, DATASET, GROUP, DOMAIN = "root", "dataset", "group", "domain"
BBOX, DATE, ORIENTATION, SPECIES = "bbox", "date", "orientation", "species"
LOCATION = "location"
KEYPOINTS = "keypoints"
"""Which keypoints of a photo are matched, where not all are."""
SPLIT_GIVEN, SPLIT, VALIDATION, CONTENT = "split_given", "split", "validation", "content"

OURS = (KEY, ROOT, DATASET, GROUP, DOMAIN, SPLIT_GIVEN, SPLIT, VALIDATION, CONTENT, KEYPOINTS)
"""Columns this package writes; a source's column of such a name is kept as `table_<name>`."""

_SHARED: tuple[str, ...] = (
    KEY,
    IMAGE_ID,
    IDENTITY,
    PATH,
    DATASET,
    GROUP,
    DOMAIN,
    BBOX,
    DATE,
    ORIENTATION,
    SPECIES,
)
_SHARED += ("encounter", SPLIT_GIVEN, SPLIT, VALIDATION, CONTENT)
"""Columns that a study's table of photos has, which goes wherever its report goes."""

QUARANTINE = (DATASET, IMAGE_ID, PATH, "reason")
"""Columns of the table of photos quarantined."""

Fault = tuple[str, str, str, str]
"""One photo quarantined: dataset, image_id, path, reason."""

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


def clean_text(values: pd.Series) -> pd.Series:
    """Strings stripped and in Unicode NFC, without any reading of them: `007` and `NA` survive.

    Missing values become the empty string.
    """
    uniques = pd.Series(values.unique()).dropna()
    cleaned = {text: unicodedata.normalize("NFC", str(text)).strip() for text in uniques}
    return values.map(cleaned).fillna("").astype("str")


def shared_columns(rows: pd.DataFrame, asked: Sequence[str] = ()) -> pd.DataFrame:
    """Without the source's other columns: places of rare animals, people, comments.

    Args:
        asked: of these too, as far as they are there.
    """
    return rows[[name for name in rows if name in _SHARED or name in asked]]


def clean_identities(values: pd.Series) -> pd.Series:
    """Like `clean_text`; empty, and `unknown` in any case, become `UNKNOWN`."""
    cleaned = clean_text(values)
    return cleaned.mask(cleaned.eq("") | cleaned.str.casefold().eq(UNKNOWN), UNKNOWN)


SIDES = ("left", "right", "front", "back", "top", "bottom")
"""What the readers make of the words for the side of an animal that a photo shows."""
_WORDS = {
    **dict.fromkeys(("l", "left", "left side", "left flank", "leftside", "port", "izquierda"), "left"),
    **dict.fromkeys(
        ("r", "right", "right side", "right flank", "rightside", "starboard", "derecha"), "right"
    ),
    **dict.fromkeys(("f", "front", "head", "frontal", "anterior", "face", "front side"), "front"),
    **dict.fromkeys(("b", "back", "rear", "behind", "posterior", "tail", "back side"), "back"),
    **dict.fromkeys(("t", "top", "up", "above", "dorsal"), "top"),
    **dict.fromkeys(("bottom", "down", "below", "ventral", "belly"), "bottom"),
}


def clean_sides(values: pd.Series) -> pd.Series:
    """The side that is seen as left, right, front, back, top or bottom; what is none of these stays."""
    cleaned = clean_text(values)
    plain = cleaned.str.casefold().str.replace(r"[\s_-]+", " ", regex=True)
    return plain.map(_WORDS).fillna(cleaned).astype("str")


def make_ids(rows: pd.DataFrame) -> pd.Series:
    """An id per row of a source without ids: of its path and, where a path is given several times, of
    animal and box as well. Rows that say the same in all of these share one."""
    ids = rows[PATH].map(id_of_path)
    several = rows[PATH].duplicated(keep=False)
    if several.any():
        part = rows[several]
        boxes = part[BBOX].astype(str) if BBOX in part else pd.Series("", part.index)
        animal = clean_identities(part[IDENTITY])
        ids[several] = (part[PATH] + "\0" + animal + "\0" + boxes).map(id_of_path)
    return ids.astype("str")


def refuse_collisions(identities: pd.Series, *, dataset: str) -> None:
    """Refuse identities of one dataset that differ in case alone: they are probably one animal.

    Raises:
        DatasetError: lists every such group.
    """
    spellings: dict[str, list[str]] = {}
    for identity in sorted(identities.unique()):
        spellings.setdefault(identity.casefold(), []).append(identity)
    if clashes := [" / ".join(group) for group in spellings.values() if len(group) > 1]:
        shown = ", ".join(clashes[:10]) + (", ..." if len(clashes) > 10 else "")
        raise DatasetError(
            f"{dataset}: {len(clashes)} identities are written in more than one way: {shown}; "
            "expected one spelling per animal, rename them in the source"
        )


def clean_groups(cells: pd.Series, *, names: Mapping[str, str], default: str) -> pd.Series:
    """Species groups of photos: as `names` calls a cell, `default` where it is empty, else the cell.

    What names of groups cannot have becomes `_`, so that they can be given in a config: `Bos taurus`
    is `Bos_taurus`.
    """

    def name(cell: str) -> str:
        if not cell:
            return default
        if cell in names:
            return names[cell]
        return _NOT_IN_NAMES.sub("_", cell).lstrip("_.-")[:64] or default

    cleaned = clean_text(cells)
    return cleaned.map({cell: name(cell) for cell in cleaned.unique()}).astype("str")


def refuse_two_groups(identities: pd.Series, groups: pd.Series, *, dataset: str) -> None:
    """Refuse an animal of two species groups: it could be seen and unseen at once.

    Raises:
        DatasetError: names some.
    """
    known = identities.ne(UNKNOWN)
    of_animal = groups[known].groupby(identities[known]).unique()
    if torn := [f"{animal} ({', '.join(of)})" for animal, of in of_animal.items() if len(of) > 1]:
        raise DatasetError(
            f"{dataset}: {len(torn)} identities have photos of more than one group: "
            f"{'; '.join(torn[:10])}; give all photos of an animal one group, or make them one by group_names"
        )


def ascending(values: Sequence[str] | pd.Series) -> NDArray[np.int64]:
    """Positions that sort `values`: as numbers if all are integers, else as strings; stable.

    This is how the published splits order both ids and identities (they were read by pandas).
    """
    texts = np.asarray(values, dtype=object)
    if len(texts) and all(map(_INTEGER.fullmatch, texts)):
        return np.lexsort((texts.astype(str), texts.astype(np.int64)))
    return np.argsort(texts, kind="stable")


def ranks(values: pd.Series) -> tuple[NDArray[np.int64], int]:
    """For each value its place among the sorted different values, and how many those are."""
    codes, uniques = pd.factorize(values)
    place = np.empty(len(uniques), np.int64)
    place[ascending(list(uniques))] = np.arange(len(uniques))
    return place[codes], len(uniques)


def id_of_path(path: str) -> str:
    """Stable id of a photo without one: the first 16 hex digits of the md5 of its relative path."""
    return hashlib.md5(path.encode(), usedforsecurity=False).hexdigest()[:16]


def quarantine(faults: Sequence[Fault] = ()) -> pd.DataFrame:
    """The table of photos quarantined."""
    return pd.DataFrame(list(faults), columns=list(QUARANTINE), dtype="str")

"""Tell a collection that is formally right but makes no sense. In: rows with their split. Out: sentences.

A study without a question is an error before any work starts; what looks odd is named, with what to do.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reid_ray.config.datasets import Data, Images, PhotoDataset, Split
from reid_ray.datasets import schema
from reid_ray.datasets.catalogue import LoadedRows, expected_rows
from reid_ray.errors import DatasetError
from reid_ray.splits.assign import Assigned, assign

_EXAMPLES = 5
_NOBODY = re.compile(
    r"(?:un|non|not?|never)?[ _.-]*(?:"
    r"identified|identifiable|identifed|matched|known|named|assigned|determined|classified|recogni[sz]ed|resolved"
    r")(?:[ _.-]*(?:individuals?|animals?|photos?|images?))?",
    re.IGNORECASE,
)
"""With a negation before it; see `_is_nobody`."""
_NOTHING = frozenset(
    """
    nan|none|null|n/a|na|n.a.|#n/a|nil|nobody|noone|no one|?|??|???|-|--|---|.|xx|xxx|unk|unkn|ukn|unid
    |unident|un-id|no id|no-id|no_id|noid|id?|indet|undet|tbd|tba|todo|to do|to identify|to be identified
    |other|others|misc|various|unsure|uncertain|new|new animal|no name|noname|blank|empty|unbekannt|inconnu
    |inconnue|desconocido|sconosciuto|onbekend|okänd|ukjent|nieznany
    """.replace("\n    ", "").split("|")
)
_NUMBERED = re.compile(r"[ _.#-]*\(?\d{1,4}\)?$")
_HEAPS = frozenset(
    """
    images|image|photos|photo|pictures|pics|img|imgs|data|dataset|raw|all|jpg|jpeg|png|originals|original|dcim
    |media|crops|cropped|new folder|untitled folder|camera|cameras|export|exports|download|downloads|unsorted
    |sorted|backup|animals|individuals|selected|best|good|bad|blurry|duplicates
    """.replace("\n    ", "").split("|")
)
_CARD = re.compile(r"(?:\d{3}[a-z_]{2,5}\d{0,3}|\d{3}_?pana|\d{3}reconyx)$", re.IGNORECASE)
"""Folders that cameras make, such as 100MEDIA, 101_PANA."""
_YEAR = re.compile(
    r"(?:19|20)\d\d(?:[-_./ ]?(?:0?[1-9]|1[0-2])(?:[-_./ ]?(?:0?[1-9]|[12]\d|3[01]))?|[-_/](?:\d\d|20\d\d))?$"
)
_MOST_YEARS = 60
"""Years and days that are folders; more names that look so are numbers of animals."""
_PLACE = re.compile(
    r"(?:cam|camera|c|ct|site|station|s|trap|loc|p|plot|grid|deployment|d)[ _-]?\d+.*$", re.IGNORECASE
)
_SIDE = re.compile(
    r"(?P<stem>.*[^\W_])[ _.-]+(?P<side>l|r|left|right|lf|rf|lhs|rhs|ls|rs|lefts?ide|positives?ide)$",
    re.IGNORECASE,
)


def plausible(data: Data, *, made: Path) -> tuple[LoadedRows, Assigned, list[str]]:
    """What a study of these collections would be made of, and what looks odd in it.

    Raises:
        DatasetError: a collection cannot be used, or there is nothing to ask.
    """
    loaded = expected_rows(data, made=made)
    assigned = assign(loaded.rows, data.split, data.unseen)
    refuse_no_question(assigned.rows, data.split)
    return (
        loaded,
        assigned,
        [text for name in _names(assigned.rows) for text in oddities(assigned.rows, name)],
    )


def reference_oddities(datasets: Sequence[PhotoDataset], images: Images) -> list[str]:
    """What looks odd in collections of known animals that others are to be searched among.

    Raises:
        DatasetError: a collection cannot be used, or names no animal at all.
    """
    loaded = expected_rows(Data(datasets=tuple(datasets), images=images), made=Path())
    if loaded.rows["identity"].eq(schema.UNKNOWN).all():
        names = ", ".join(_names(loaded.rows))
        raise DatasetError(
            f"{names}: no animal is named, so none can be found; put photos into a folder per animal, or say "
            "which column or folder names it (--identity-column, --level)"
        )
    return [text for name in _names(loaded.rows) for text in oddities(loaded.rows, name)]


def refuse_no_question(rows: pd.DataFrame, split: Split) -> None:
    """Refuse a study that could ask nothing.

    Raises:
        DatasetError: no query photo at all, and why.
    """
    if not rows["split"].eq("query").any():
        raise DatasetError(no_question(rows, split))


def no_question(rows: pd.DataFrame, split: Split) -> str:
    """Why there is no query photo, and what to do."""
    names = ", ".join(_names(rows))
    known = rows[rows["identity"].ne(schema.UNKNOWN)]
    if known.groupby(["dataset", "identity"]).size().max() < 2:
        return (
            f"{names}: no animal has two photos, so there is nothing to ask: no photo can be a query whose "
            "animal is among the references; add photos, or say which column or folder names the animal "
            "(--identity-column, --level)"
        )
    if split.kind == "time_proportion":
        return (
            f"{names}: no query photo, so there is nothing to ask: each animal's photos are of one day; "
            "choose another split.kind, or add photos of other days"
        )
    return (
        f"{names}: no query photo with split.kind {split.kind}, so there is nothing to ask; choose another "
        "split.kind, or mend the split column"
    )


def oddities(rows: pd.DataFrame, dataset: str) -> list[str]:
    """What looks as if it were not meant, in one dataset: each a sentence with what to do."""
    part = rows[rows["dataset"].eq(dataset)]
    names = sorted(set(part["identity"]) - {schema.UNKNOWN})
    found = [_nobodies(names), _sides(names)]
    folders = set(part["path"].str.partition("/")[0])
    found += [_layer(part, names) or _heaps([name for name in names if name in folders], len(names))]
    return [f"{dataset}: {text}" for text in found if text]


def _names(rows: pd.DataFrame) -> list[str]:
    return [str(name) for name in rows["dataset"].unique()]


def _nobodies(names: Sequence[str]) -> str:
    if not (found := [name for name in names if _is_nobody(name)]):
        return ""
    return (
        f"these names look like no animal: {_some(found)}; leave such photos out, or call their animal "
        "'unknown'"
    )


def _is_nobody(name: str) -> bool:
    text = re.sub(r"\s+", " ", name.strip().casefold())
    bare = _NUMBERED.sub("", text).strip(" _.-")
    if text in _NOTHING or (bare in _NOTHING and len(bare) > 1) or not re.search(r"\w", text):
        return True
    negated = re.match(r"(?:un|non|not|no|never)", bare)
    return bool(negated and _NOBODY.fullmatch(bare))


def _sides(names: Sequence[str]) -> str:
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in names:
        if match := _SIDE.fullmatch(name):
            by_stem[match["stem"].casefold()].append(name)
    both = [
        " / ".join(group)
        for group in by_stem.values()
        if len({(match["side"][0].casefold()) for name in group if (match := _SIDE.fullmatch(name))}) > 1
    ]
    if not both:
        return ""
    return (
        f"names that may be the two sides of one animal: {_some(both)}; give both one name, and put "
        "the side in a column 'orientation'"
    )


def _layer(part: pd.DataFrame, names: Sequence[str]) -> str:
    """Whether animals seem to be one folder further down than names are taken from."""
    folders = part["path"].str.split("/").str[:-1]
    deep = folders.str.len().gt(1) & folders.str[0].eq(part["identity"])
    if not deep.any() or deep.sum() < 0.9 * len(part):
        return ""
    below = folders[deep].str[1]
    tops = folders[deep].str[0]
    often = tops.groupby(below).nunique()
    shared = [name for name in map(str, often.index[often > 1]) if not _is_no_animal(name)]
    if len(names) == 1:
        inner = sorted({str(name) for name in below if not _is_no_animal(str(name))})
        if len(inner) < 2:
            return ""
        return (
            f"all photos lie below one folder, '{names[0]}', which holds {len(inner)} folders "
            f"({_some(inner)}): the animals seem to be one level deeper; give "
            f"{part['root'].iloc[0]}/{names[0]}, or --level 2 (level: 2 in YAML)"
        )
    if len(shared) < 2 or below.isin(shared).mean() < 0.5:
        return ""
    return (
        f"the same folder names ({_some(shared)}) lie below several folders ({_some(names)}): the animal "
        "seems to be the second level; give --level 2 (level: 2 in YAML) if it is, or else rename them"
    )


def _heaps(folders: Sequence[str], animals: int) -> str:
    """Whether animals are called like folders of something else.

    Args:
        folders: names of animals that are folders.
        animals: how many there are.
    """
    heaps = [name for name in folders if name.casefold() in _HEAPS or _CARD.fullmatch(name)]
    years = [name for name in folders if _YEAR.fullmatch(name)]
    if years and len(years) == animals <= _MOST_YEARS:
        return (
            f"the animals are called {_some(years)}, which look like years or days; if animals are one level "
            "deeper, give --level 2 (level: 2 in YAML)"
        )
    if heaps:
        return (
            f"these names look like folders of photos and not like animals: {_some(heaps)}; move their "
            "photos to folders of animals, give the folder one level deeper, or --level 2"
        )
    return ""


def _is_no_animal(name: str) -> bool:
    """Whether a subfolder's name says a time, a camera or a side, so that an animal stands above it."""
    plain = name.casefold()
    return bool(
        _YEAR.fullmatch(name)
        or _CARD.fullmatch(name)
        or _PLACE.fullmatch(name)
        or plain in _HEAPS
        or plain in ("l", "r", "left", "right", "front", "back", "head", "tail", "day", "night", "ir", "rgb")
        or re.fullmatch(r"[\d_.-]+", name)
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")

"""Say what a collection holds, what is wrong with it and what to do, before any study is run.

In: a config's `Data`. Out: facts and findings in words; photos are opened, nothing is written.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from reid_ray.config.collections import advice
from reid_ray.config.datasets import Data, Dataset, Images, SyntheticDataset
from reid_ray.datasets import schema
from reid_ray.datasets.catalogue import LoadedRows, expected_rows, root_of
from reid_ray.datasets.encounters import LONGEST_TEXT
from reid_ray.datasets.images import BadImage, content_hash, decode, prepare, read_bytes
from reid_ray.datasets.intake import Intake, close_account
from reid_ray.splits.assign import assign
from reid_ray.splits.plausibility import no_question, oddities

SMALL_PX = 128
"""A photo whose shorter side is less shows few hairs of a coat."""
LARGE_SHARE = 0.3
_EXAMPLES = 3
_THREADS = 4


ALL_BUT_THE_LAST_PART = r"([^/]+)[_-][^/_-]*$"
_OF_ONE_ANIMAL = 0.95
"""Share of encounters that show one animal alone, at least."""


@dataclass
class Checkup:
    """What was found.

    Attributes:
        facts: sentences on what there is.
        problems: what spoils results, each with what to do.
        notes: what is worth knowing.
        pairs: of queries and references, over all collections.
    """

    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pairs: int = 0


@dataclass(frozen=True)
class Opened:
    """One photo as it was opened: its content and sides, or why it cannot be."""

    key: str
    content: str = ""
    height_px: int = 0
    width_px: int = 0
    error: str = ""


def check_up(
    data: Data,
    *,
    made: Path,
    most_photos: int | None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Checkup:
    """Read the tables, split them as a study would, and open photos.

    Args:
        most_photos: opened at most, evenly spread; None: all of them.

    Raises:
        DatasetError: a collection cannot be used at all.
    """
    found = Checkup()
    loaded = expected_rows(data, made=made)
    for dataset, intake in zip(data.datasets, loaded.intakes, strict=True):
        _accounts(dataset, intake, loaded, data.images, found)
    _quarantined(loaded.quarantine, found)
    rows, findings = assign(loaded.rows, data.split, data.unseen)
    if not rows["split"].eq("query").any():
        found.problems.append(no_question(rows, data.split))
    for name, part in rows.groupby("dataset", sort=False):
        found.pairs += int(part["split"].eq("query").sum()) * int(part["split"].eq("reference").sum())
        found.problems += oddities(rows, str(name))
        _facts(str(name), part, found)
        _names(str(name), part, found)
        _balance(str(name), part, found)
        boxed = "bbox" in part and bool(part["bbox"].notna().any())
        found.notes += advice(str(name), cropped=data.images.crop == "bbox", boxed=boxed)
    found.notes += [finding.text for finding in findings]
    _open(rows[rows["root"].ne("")], data.images, most_photos, found, progress)
    return found


def _accounts(dataset: Dataset, intake: Intake, loaded: LoadedRows, images: Images, found: Checkup) -> None:
    """What became of each file, name, column and box of one collection."""
    name = dataset.name
    if isinstance(dataset, SyntheticDataset):
        return
    rows, quarantine = (table[table["dataset"].eq(name)] for table in loaded[:2])
    account = close_account(rows, quarantine, root_of(dataset))
    found.facts.append(f"{name}: {account.sentence()}")
    if account.bins:
        found.notes.append(
            f"{name}: folders of deleted files and of the system are passed over: {_some(account.bins)}"
        )
    if intake.paths and (lost := len(intake.paths.by_name) - intake.paths.count("exact")):
        said = f"{name}: {intake.paths.sentence()}"
        good = intake.paths.count("spelling") + intake.paths.count("name")
        (found.problems if lost > good else found.facts).append(said)
    if intake.used or intake.unused:
        unused = f"; not used: {', '.join(intake.unused)}" if intake.unused else ""
        found.facts.append(f"{name}: columns {', '.join(intake.used)} are used{unused}")
    if intake.detected and (intake.detected.count("several") or intake.detected.count("shared")):
        found.problems.append(f"{name}: boxes of {intake.detected.sentence()}")
    if intake.boxes:
        incomplete = intake.boxes.incomplete or images.crop != "bbox"
        said = f"{name}: {intake.boxes.sentence(crop=images.crop == 'bbox')}"
        (found.problems if incomplete else found.facts).append(said)
    if intake.text_note:
        found.facts.append(f"{name}: the table is {intake.text_note}")
    if intake.date_note:
        found.facts.append(f"{name}: {intake.date_note}")
    if intake.date_problem:
        found.problems.append(f"{name}: {intake.date_problem}")


def _quarantined(quarantine: pd.DataFrame, found: Checkup) -> None:
    for reason, part in quarantine.groupby("reason", sort=False):
        places = zip(part["path"], part["image_id"], strict=True)
        examples = sorted(path or image_id for path, image_id in places)
        found.problems.append(
            f"{_many(len(part), 'photo')} quarantined: {reason} ({_some(examples)}); mend or leave out"
        )


def _facts(name: str, part: pd.DataFrame, found: Checkup) -> None:
    known = part[part["identity"].ne(schema.UNKNOWN)]
    sizes = known["identity"].value_counts()
    unknown = len(part) - len(known)
    found.facts.append(
        f"{name}: {_many(len(part), 'photo')} of {_many(len(sizes), 'animal')}"
        + (f", {unknown} of them of unknown animals" if unknown else "")
    )
    if len(sizes):
        found.facts.append(
            f"{name}: {int(sizes.min())} to {int(sizes.max())} photos per animal, half have "
            f"{int(sizes.median())} or more"
        )
    split = part["split"].value_counts()
    found.facts.append(
        f"{name}: {split.get('reference', 0)} reference and {split.get('query', 0)} query photos "
        f"({int(part['validation'].sum())} references kept for validation)"
    )
    for column, what in (("species", "species"), ("orientation", "sides"), ("encounter", "encounters")):
        if column in part and part[column].ne("").any():
            values = part.loc[part[column].ne(""), column].value_counts()
            found.facts.append(f"{name}: {len(values)} {what} ({_some(list(values.index))})")
    if "date" in part and part["date"].ne("").any():
        dated = part.loc[part["date"].ne(""), "date"]
        found.facts.append(
            f"{name}: dates from {dated.min()} to {dated.max()} on {_many(len(dated), 'photo')}"
        )
    elif "encounter" not in part or part["encounter"].eq("").all():
        found.notes.append(
            f"{name}: neither dates nor encounters, so photos of one moment on both sides of the split "
            f"cannot be told; {_encounter_advice(part)}"
        )


def _encounter_advice(part: pd.DataFrame) -> str:
    """How to name encounters; a pattern where all but the last part of file names seems to do it."""
    if not (shared := named_together(part)):
        return "add a column `encounter` if you know them"
    return (
        f"file names such as {shared[0]} and {shared[1]} seem to belong together: if they "
        f"do, add `encounter_from: {{pattern: '{ALL_BUT_THE_LAST_PART}'}}` to the dataset"
    )


def named_together(part: pd.DataFrame) -> list[str]:
    """File names of one encounter, if all but the last part of names seems to tell encounters; as far
    as the animals' names can say."""
    paths = part["path"].astype(str)
    ends = paths.str.slice(-LONGEST_TEXT)  # the pattern is of the end
    first = ends.str.extract(ALL_BUT_THE_LAST_PART, expand=False).fillna("")
    groups = part.assign(first=first)[first.ne("")].groupby("first")
    sizes, animals = groups.size(), groups["identity"].nunique()
    if (
        sizes[sizes > 1].sum() * 2 < len(part)
        or animals.eq(1).mean() < _OF_ONE_ANIMAL
        or len(sizes) < 1.5 * part["identity"].nunique()  # then it is the animal, or a camera
    ):
        return []
    return sorted(paths[first.eq(sizes[sizes > 1].index[0])].str.rpartition("/")[2])


def _names(name: str, part: pd.DataFrame, found: Checkup) -> None:
    """Identities that look like one animal written in two ways."""
    spellings: dict[str, list[str]] = {}
    for identity in sorted(set(part["identity"]) - {schema.UNKNOWN}):
        plain = re.sub(r"[\W_]+", "", identity.casefold())
        spellings.setdefault(re.sub(r"(?<!\d)0+(?=\d)", "", plain), []).append(identity)
    alike = [" / ".join(group) for group in spellings.values() if len(group) > 1]
    if alike:
        found.problems.append(
            f"{name}: names that may be one animal: {_some(alike)}; rename them if they are"
        )


def _balance(name: str, part: pd.DataFrame, found: Checkup) -> None:
    sizes = part.loc[part["identity"].ne(schema.UNKNOWN), "identity"].value_counts()
    single = int((sizes == 1).sum())
    if len(sizes) < 2:
        found.problems.append(
            f"{name}: {_many(len(sizes), 'known animal')}; at least two are needed to tell animals apart"
        )
    elif sizes.iloc[0] > LARGE_SHARE * len(part) and len(sizes) > 4:
        found.notes.append(
            f"{name}: {sizes.index[0]} has {sizes.iloc[0]} of {len(part)} photos, so look at balanced "
            "accuracy, in which every animal counts the same"
        )
    if single:
        found.notes.append(
            f"{name}: {_many(single, 'animal')} with a single photo, which can be searched but is no query"
        )


def _open(
    rows: pd.DataFrame, images: Images, most: int | None, found: Checkup, progress: Callable[[int, int], None]
) -> None:
    if not len(rows):
        return
    total = len(rows) if most is None else min(most, len(rows))
    chosen = rows.iloc[np.linspace(0, len(rows) - 1, total).round().astype(int)]
    opened = []
    for photo in _opened(chosen, images):
        opened.append(photo)
        progress(len(opened), total)
    scope = "all photos" if total == len(rows) else f"{total} of {len(rows)} photos"
    found.facts.append(f"opened {scope}")
    several = rows["dataset"].nunique() > 1
    names = rows["dataset"] + ": " + rows["path"] if several else rows["path"]
    paths = dict(zip(rows["key"], names, strict=True))
    broken: dict[str, list[str]] = {}
    for photo in opened:
        if photo.error:
            broken.setdefault(photo.error, []).append(paths[photo.key])
    for reason, places in broken.items():
        found.problems.append(
            f"{len(places)} of {scope}: {reason} ({_some(sorted(places))}); mend or leave out"
        )
    good = [photo for photo in opened if not photo.error]
    _sizes(good, found)
    _twice(good, rows.set_index("key")["identity"], paths, found)


def _opened(chosen: pd.DataFrame, images: Images) -> Iterator[Opened]:
    """In order; a few at a time, so that memory holds but those."""
    boxes = chosen["bbox"] if "bbox" in chosen else [None] * len(chosen)
    work = zip(chosen["key"], chosen["root"], chosen["path"], boxes, strict=True)
    with ThreadPoolExecutor(_THREADS) as pool:
        while batch := list(islice(work, 8 * _THREADS)):
            yield from pool.map(partial(_open_one, images=images), batch)


def _open_one(row: tuple[str, str, str, Sequence[float] | None], *, images: Images) -> Opened:
    key, root, path, box = row
    box = box if images.crop == "bbox" else None
    try:
        data = read_bytes(root, path)
        pixels = decode(data, max_pixels=images.max_pixels)
        prepare(pixels, short_px=images.short_px, bbox=box, enlarge=images.enlarge)
    except BadImage as error:
        return Opened(key, error=str(error))
    return Opened(key, content_hash(data, box), *pixels.shape[:2])


def _sizes(good: Sequence[Opened], found: Checkup) -> None:
    if not good:
        return
    short = np.array([min(photo.height_px, photo.width_px) for photo in good])
    found.facts.append(
        f"shorter sides from {short.min()} to {short.max()} px, half {int(np.median(short))} px or more"
    )
    if small := int((short < SMALL_PX).sum()):
        found.notes.append(
            f"shorter side below {SMALL_PX} px, so few details, in {small} of {len(good)} photos"
        )


def _twice(good: Sequence[Opened], identities: pd.Series, paths: Mapping[str, str], found: Checkup) -> None:
    """Equal files, which are worst where they go by two names."""
    by_content: dict[str, list[str]] = {}
    for photo in good:
        by_content.setdefault(photo.content, []).append(photo.key)
    equal = [keys for keys in by_content.values() if len(keys) > 1]
    torn = [keys for keys in equal if len(Counter(identities[keys])) > 1]
    if torn:
        shown = _some([_pair(keys, paths, identities) for keys in torn])
        found.problems.append(
            f"{_many(len(torn), 'file')} under several names of animals ({shown}); keep the right one"
        )
    if extra := sum(len(keys) - 1 for keys in equal if keys not in torn):
        shown = _some([_pair(keys, paths, identities) for keys in equal if keys not in torn])
        found.notes.append(
            f"{_many(extra, 'photo')} equal to another ({shown}); a query that is a copy is left out"
        )


def _pair(keys: Sequence[str], paths: Mapping[str, str], identities: pd.Series) -> str:
    """Two equal files, or the one file that is in two rows, with the names it has there."""
    first, second = keys[:2]
    if paths[first] != paths[second]:
        return f"{paths[first]} = {paths[second]}"
    return f"{paths[first]} of {identities[first]} and of {identities[second]}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")


def _some(names: Sequence[str]) -> str:
    """A few of the names."""
    return ", ".join(map(str, names[:_EXAMPLES])) + (", ..." if len(names) > _EXAMPLES else "")

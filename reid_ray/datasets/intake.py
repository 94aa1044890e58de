"""Close the account of a collection: what became of each of its files, columns, names and boxes.

In: what was read, and what lies below the root. Out: counts that add up, and sentences.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from reid_ray.datasets.kinds import kind_of, suffix_of
from reid_ray.datasets.paths import Resolved
from reid_ray.datasets.roots import Root

_EXAMPLES = 3


@dataclass(frozen=True)
class BoxCount:
    """Photos by whether a box says where the animal is.

    Attributes:
        photos, boxed: how many there are, and how many have a box.
        file: that boxes came from; "": from the table.
        unlisted, failed, empty: photos without a box as the file does not have them, says that it could not
            read them, or shows no animal in them.
    """

    photos: int
    boxed: int
    file: str = ""
    unlisted: int = 0
    failed: int = 0
    empty: int = 0

    @property
    def incomplete(self) -> bool:
        """Whether the detector never saw some of the photos."""
        return bool(self.unlisted or self.failed)

    def sentence(self, *, crop: bool) -> str:
        """`boxes for 1 of 9 photos; 8 are taken whole: 6 not in md.json, 1 failed, 1 without an animal`."""
        text = f"boxes for {self.boxed} of {self.photos} photos"
        if not crop and self.boxed:
            return text + ", which are not used as images.crop is full; set it to bbox to look at the animal"
        if not (left := self.photos - self.boxed):
            return text
        parts = [
            f"{count} {what}"
            for count, what in (
                (self.unlisted, f"not in {self.file}"),
                (self.failed, "failed"),
                (self.empty, "without an animal"),
            )
            if count
        ]
        return f"{text}; {left} are taken whole" + (f": {', '.join(parts)}" if parts else "")


@dataclass(frozen=True)
class Intake:
    """What was noticed while one collection was read.

    Attributes:
        paths: what the listing's names of files mean; None where nothing but folders lists them.
        detected: the same of a detector's file.
        boxes: None where there are none.
        used, unused: the listing's columns.
        text_note: what was taken for granted when the table's bytes were read.
        date_note, date_problem: what was understood of dates.
    """

    dataset: str
    listing: str = ""
    paths: Resolved | None = None
    detected: Resolved | None = None
    boxes: BoxCount | None = None
    used: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    text_note: str = ""
    date_note: str = ""
    date_problem: str = ""


@dataclass(frozen=True)
class Account:
    """Files below a root: `files` = `used` + `quarantined` + `unlisted` + `unread` + `others`.

    Attributes:
        used: that rows were made of.
        quarantined: that cannot be used, each with its reason.
        unlisted: photos that the listing does not name.
        unread: photos in formats that are not read, and not quarantined; by suffix.
        others: no photos; by suffix.
        bins, closed: folders that were passed over, and that could not be entered.
        hidden: files and folders that are hidden.
    """

    files: int
    used: int
    quarantined: int
    unlisted: tuple[str, ...] = ()
    unread: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    bins: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    hidden: int = 0

    def sentence(self) -> str:
        """The sum, in words."""
        parts = [f"{self.used} used", f"{self.quarantined} quarantined"]
        if self.unlisted:
            parts.append(f"{len(self.unlisted)} photos that are not listed ({_some(self.unlisted)})")
        if self.unread:
            parts.append(f"{self.unread.total()} not read, convert them to JPEG ({_counts(self.unread)})")
        if self.others:
            parts.append(f"{self.others.total()} not photos ({_counts(self.others)})")
        return f"{self.files} files: {', '.join(parts)}" + (f"; {self.hidden} hidden" if self.hidden else "")


def close_account(rows: pd.DataFrame, quarantine: pd.DataFrame, root: Root) -> Account:
    """What became of each file below the root.

    Args:
        rows, quarantine: of this collection.
    """
    found = root.inventory()
    used, quarantined = set(rows["path"]), set(quarantine["path"]) - set(rows["path"])
    unlisted: list[str] = []
    unread: Counter[str] = Counter()
    others: Counter[str] = Counter()
    counts = {"used": 0, "quarantined": 0}
    for path in found.files:
        if path in used or path in quarantined:
            counts["used" if path in used else "quarantined"] += 1
            continue
        kind = kind_of(path, root.head)
        if kind == "photo":
            unlisted.append(path)
        else:
            (unread if kind == "unread" else others)[suffix_of(path)] += 1
    # Rows may lie in hidden folders that their table names.
    beyond = len(used - set(found.files))
    shown = (tuple(unlisted), unread, others, found.bins, found.closed, found.hidden)
    return Account(len(found.files) + beyond, counts["used"] + beyond, counts["quarantined"], *shown)


def _counts(by_suffix: Counter[str]) -> str:
    return ", ".join(f"{suffix or 'without a suffix'} {count}" for suffix, count in by_suffix.most_common())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")

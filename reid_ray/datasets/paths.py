"""Find the photo that a name in a table or JSON file means, however it is written.

In: the files of a collection and the names. Out: for each name its file and how it was found, or why not.
"""

import difflib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

How = Literal["exact", "spelling", "name", "several", "shared", "missing"]
"""As written; but for backslashes, blanks, letter case or Unicode form; by the end of the path; the name
fits several files; it fits one that another name fits as well or better; nothing fits."""

SEVERAL = "its name fits several photos, so it is taken for none"
_SURE_PARTS = 2
"""A folder and a file name, equal in both, are enough where the folders above them differ."""
_MOST_COMPARED = 2000
"""File names that are looked through for the most similar one."""


class Match(NamedTuple):
    """What a name means; `path` is "" where it was not found."""

    path: str
    how: How


@dataclass(frozen=True)
class Resolved:
    """What all names of a listing mean.

    Attributes:
        by_name: name as written -> match.
        nearest: a name that was not found, and the most similar file ("" if none is).
    """

    by_name: Mapping[str, Match]
    nearest: tuple[str, str] | None = None

    def count(self, how: How) -> int:
        return sum(match.how == how for match in self.by_name.values())

    def sentence(self) -> str:
        """`5 names of files: 3 exactly, 1 by name, 1 not found, for example x (the nearest file is y)`."""
        counts = Counter(match.how for match in self.by_name.values())
        parts = [f"{counts[how]} {text}" for how, text in _TEXTS.items() if counts[how] or how == "exact"]
        lost = self._example("several") or self._example("shared") or (self.nearest and self.nearest[0])
        example = f", for example {lost}" if lost else ""
        if lost and self.nearest and lost == self.nearest[0] and self.nearest[1]:
            example += f" (the nearest file is {self.nearest[1]})"
        elif not lost and (found := self._example("name")):
            example = f", for example {found} is {self.by_name[found].path}"
        return f"{_names(len(self.by_name))}: {', '.join(parts)}{example}"

    def _example(self, how: How) -> str:
        return next((name for name, match in self.by_name.items() if match.how == how), "")


_TEXTS: dict[How, str] = {
    "exact": "exactly",
    "spelling": "but for spelling",
    "name": "by name",
    "several": "that fit several photos and so none",
    "shared": "that fit a photo which another name means",
    "missing": "not found",
}


def _names(count: int) -> str:
    return f"{count} name{'' if count == 1 else 's'} of files"


@dataclass(frozen=True)
class PathFinder:
    """Finds files by what people and programs call them.

    Attributes:
        files: relative POSIX paths, each once.
    """

    files: Collection[str]

    def find(self, names: Iterable[str], *, known: Collection[str] = ()) -> Resolved:
        """Each name's file; no file is found by two names that differ in more than spelling.

        Args:
            known: names that are right as written, though they may not be among the files.
        """
        found = {name: self._as_written(name, known) for name in dict.fromkeys(names)}
        taken = {match.path for match in found.values() if match.path}
        proposed: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for name, match in found.items():
            if match.how == "missing":
                shared, files = self._by_tail(name)
                if len(files) > 1:
                    found[name] = Match("", "several")
                elif files:
                    proposed[files[0]].append((shared, name))
        for file, tails in proposed.items():
            most = max(shared for shared, _ in tails)
            best = {_key("/".join(_parts(name))) for shared, name in tails if shared == most}
            for shared, name in tails:
                unique = shared == most and len(best) == 1 and file not in taken
                found[name] = Match(file, "name") if unique else Match("", "shared")
        lost = next((name for name, match in found.items() if match.how == "missing"), None)
        return Resolved(found, None if lost is None else (lost, self.nearest(lost)))

    def nearest(self, name: str) -> str:
        """The most similar file: one of the same name, else of a similar one; "" if there is none."""
        parts = _parts(name)
        if not parts:
            return ""
        if same := self._tails.get(_key(parts[-1])):
            return same[0]
        by_end: dict[str, str] = {}
        for file in self.files:
            by_end.setdefault(file.rpartition("/")[2], file)
            if len(by_end) == _MOST_COMPARED:
                break
        near = difflib.get_close_matches(parts[-1], by_end, n=1)
        return by_end[near[0]] if near else ""

    def _as_written(self, name: str, known: Collection[str]) -> Match:
        if name in self._exact or name in known:
            return Match(name, "exact")
        parts = _parts(name)
        if not parts or _is_absolute(name):
            return Match("", "missing")
        plain = "/".join(parts)
        if plain in self._exact:
            return Match(plain, "spelling")
        for form in (_composed, _key):
            if files := self._spelled.get((form is _key, form(plain))):
                return Match(files[0], "spelling") if len(files) == 1 else Match("", "several")
        return Match("", "missing")

    def _by_tail(self, name: str) -> tuple[int, list[str]]:
        """How many last parts are shared at most, and (two of) the files that share them.

        One path must end with the other, or a folder and the file name be equal.
        """
        parts = _parts(name)
        for shared in range(len(parts), 0, -1):
            if files := self._tails.get(_key("/".join(parts[-shared:]))):
                whole = shared == len(parts) or any(file.count("/") + 1 == shared for file in files)
                return (shared, files) if whole or shared >= _SURE_PARTS else (0, [])
        return 0, []

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _spelled(self) -> dict[tuple[bool, str], list[str]]:
        """By composed form and by case-folded form (True); files that share a form are all kept."""
        found: dict[tuple[bool, str], list[str]] = defaultdict(list)
        for file in self.files:
            found[False, _composed(file)].append(file)
            found[True, _key(file)].append(file)
        return found

    @cached_property
    def _tails(self) -> dict[str, list[str]]:
        """By each end of their paths at most two files: more would say no more."""
        found: dict[str, list[str]] = defaultdict(list)
        for file in self.files:
            tail = _key(file)
            while tail:
                if len(found[tail]) < 2:
                    found[tail].append(file)
                tail = tail.partition("/")[2]
        return found


def _parts(name: str) -> Sequence[str]:
    """The parts of a path, of any system or address; none where it leaves its folder or is no path."""
    plain = name.strip().strip("\"'").replace("\\", "/")
    if "://" in plain:
        plain = plain.partition("://")[2]
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    return [] if ".." in parts or "\0" in plain else parts


def _is_absolute(name: str) -> bool:
    plain = name.strip().strip("\"'").replace("\\", "/")
    return plain.startswith("/") or plain[1:2] == ":" or "://" in plain


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _key(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())

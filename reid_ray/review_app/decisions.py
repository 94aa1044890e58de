"""Keep what people decided on a batch's photos. In: decisions. Out: what holds, now or earlier.

A journal: each save is a line that is appended, sealed and flushed to the disk; no line is ever changed.
So nothing that was saved can be lost by what is saved later, and a page knows by its revision what it showed.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar

from reid_ray.errors import StorageError
from reid_ray.runs import seals

T = TypeVar("T")

Decisions = dict[str, str]
"""By path: `is:<animal>` or `unknown`."""
Boxes = dict[str, list[int]]
"""By path: [x, y, width, height] of the region that a person drew, in pixels of the upright photo."""
LAST = 1 << 62
"""A revision after all others."""


@dataclass(frozen=True)
class Saved:
    """What was saved at once.

    Attributes:
        revision: 1 for the first save of a batch, then counted up.
        decided: by path; "" takes a decision back.
        boxes: by path; an empty one takes a region back.
        at: seconds since 1970; 0 where it was not kept.
        reviewer: who decided.
        evidence: by path, what the decision rests on, in words.
    """

    revision: int
    decided: Decisions
    boxes: Boxes = field(default_factory=dict)
    at: float = 0.0
    reviewer: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)


class Signed(NamedTuple):
    """A decision that holds, with who made it, when, and on what evidence."""

    what: str
    at: float
    reviewer: str
    evidence: str


@dataclass(frozen=True)
class Journal:
    """`decisions.jsonl` of a batch's folder, and `decisions.json` where an earlier version left one; or
    another journal of what people said, under its own name."""

    folder: Path
    name: str = "decisions.jsonl"

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def earlier(self) -> Path:
        return self.folder / "decisions.json"

    def holds(self, revision: int = LAST) -> Decisions:
        """What was decided up to a revision."""
        return _latest([saved.decided for saved in self._read()[0] if saved.revision <= revision])

    def boxes(self, revision: int = LAST) -> Boxes:
        """The regions that were drawn up to a revision."""
        return _latest([saved.boxes for saved in self._read()[0] if saved.revision <= revision])

    def signed(self) -> dict[str, Signed]:
        """All that holds, by path."""
        found = {}
        for saved in self._read()[0]:
            for path, what in saved.decided.items():
                found[path] = Signed(what, saved.at, saved.reviewer, saved.evidence.get(path, ""))
        return {path: one for path, one in found.items() if one.what}

    def revision(self) -> int:
        """Of the last save; 0 where there is none."""
        return max((saved.revision for saved in self._read()[0]), default=0)

    def problems(self) -> list[str]:
        """Sentences on what cannot be read; all else is used."""
        return self._read()[1]

    def save(
        self,
        wanted: Mapping[str, str],
        *,
        shown: int = LAST,
        boxes: Mapping[str, Sequence[int]] | None = None,
        reviewer: str = "",
        evidence: Mapping[str, str] | None = None,
    ) -> Decisions:
        """Append what differs from what the page showed, unless somebody else decided on it meanwhile.

        Args:
            wanted: by path, "" for no decision.
            shown: revision of the page on which it was decided.
            boxes: regions by path, an empty one for none.
            reviewer: who decides.
            evidence: by path, in words.

        Returns:
            What was not saved: by path, what holds instead.

        Raises:
            StorageError: it cannot be written; nothing is saved then.
        """
        drawn = {path: list(box) for path, box in (boxes or {}).items()}
        try:
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                taken, refused = _merged(wanted, self.holds(shown), self.holds(), none="")
                cut, kept_out = _merged(drawn, self.boxes(shown), self.boxes(), none=[])
                if taken or cut:
                    told = {path: (evidence or {}).get(path, "") for path in taken if taken[path]}
                    self._append(
                        file.fileno(),
                        {"decided": taken, "boxes": cut, "reviewer": reviewer, "evidence": told},
                    )
        except OSError as error:
            raise StorageError(
                f"{self.path}: nothing was saved ({error}); check space and permissions, then save again"
            ) from None
        return {path: self.holds().get(path, "") for path in kept_out} | refused

    def _append(self, handle: int, said: Mapping[str, Any]) -> None:
        line = seals.sealed({"revision": self.revision() + 1, "saved_at": time.time(), **said})
        end = os.fstat(handle).st_size
        # A line that a crash cut short is closed, so that this one stands alone.
        text = b"\n" if end and os.pread(handle, 1, end - 1) != b"\n" else b""
        text += json.dumps(line, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(handle, text)
            if written != len(text):
                raise OSError("only a part could be written")
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, end)
            raise
        if not end:
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _read(self) -> tuple[list[Saved], list[str]]:
        saved, problems = [], []
        if self.earlier.exists():
            try:
                saved.append(Saved(0, _decided(json.loads(self.earlier.read_bytes()))))
            except (OSError, ValueError, RecursionError):
                problems.append(
                    f"{self.earlier} is damaged: its decisions are missing; restore it from a copy"
                )
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                entry = json.loads(line)
                if seals.SEAL not in entry:
                    raise ValueError
                content = seals.unsealed(entry, self.path)
                saved.append(_saved(content))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError, StorageError):
                problems.append(
                    f"{self.path}, line {number}, is damaged or was cut short by a crash: what was saved "
                    "with it is missing; all other decisions are used"
                )
        return saved, problems


def grounds(card: Mapping[str, Any], what: str) -> str:
    """What a decision on a card rests on, in words: what its page showed."""
    shown = card["candidates"]
    place = next((place for place, one in enumerate(shown) if f"is:{one['identity']}" == what), None)
    if place is None:
        return f"{'none' if what == 'unknown' else 'a name that was typed, none'} of {len(shown)} candidates"
    one = shown[place]
    told = [f"candidate {place + 1} of {len(shown)}"]
    if one["probability"] is not None:
        told.append(f"probability {one['probability']:.2f}")
    if one["matches"]:
        told.append(f"{one['matches']} matched points")
    return ", ".join(told) + (f", beside {PurePosixPath(one['path']).name}" if one["path"] else "")


def _merged(
    wanted: Mapping[str, T], before: Mapping[str, T], now: Mapping[str, T], *, none: T
) -> tuple[dict[str, T], dict[str, T]]:
    """What of `wanted` is new, and what holds instead of the rest, as others changed it since `before`."""
    changed = {path: what for path, what in wanted.items() if what != before.get(path, none)}
    refused = {
        path: now.get(path, none)
        for path, what in changed.items()
        if now.get(path, none) not in (before.get(path, none), what)
    }
    taken = {
        path: what for path, what in changed.items() if path not in refused and what != now.get(path, none)
    }
    return taken, refused


def _latest(saves: Sequence[Mapping[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for one in saves:
        found |= one
    return {path: what for path, what in found.items() if what}


def _saved(content: Mapping[str, Any]) -> Saved:
    """A line of the journal; earlier versions kept neither boxes nor reviewers."""
    boxes = {str(path): [int(side) for side in box] for path, box in content.get("boxes", {}).items()}
    if any(len(box) not in (0, 4) for box in boxes.values()):
        raise ValueError("not boxes")
    return Saved(
        int(content["revision"]),
        _decided(content["decided"]),
        boxes,
        float(content.get("saved_at", 0.0)),
        str(content.get("reviewer", "")),
        _decided(content.get("evidence", {})),
    )


def _decided(value: object) -> Decisions:
    if not isinstance(value, dict) or not all(isinstance(what, str) for what in value.values()):
        raise ValueError("not decisions")
    return {str(path): what for path, what in value.items()}

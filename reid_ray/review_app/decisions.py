"""Keep what people decided on a batch's photos. In: decisions. Out: what holds, now or earlier.

A journal: each save is a line that is appended, sealed and flushed to the disk; no line is ever changed.
So nothing that was saved can be lost by what is saved later, and a page knows by its revision what it showed.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reid_ray.errors import StorageError
from reid_ray.runs import seals

Decisions = dict[str, str]
"""By path: `is:<animal>` or `unknown`."""
LAST = 1 << 62
"""A revision after all others."""


@dataclass(frozen=True)
class Saved:
    """What was saved at once.

    Attributes:
        revision: 1 for the first save of a batch, then counted up.
        decided: by path; "" takes a decision back.
    """

    revision: int
    decided: Decisions


@dataclass(frozen=True)
class Journal:
    """`decisions.jsonl` of a batch's folder, and `decisions.json` where an earlier version left one."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "decisions.jsonl"

    @property
    def earlier(self) -> Path:
        return self.folder / "decisions.json"

    def holds(self, revision: int = LAST) -> Decisions:
        """What was decided up to a revision."""
        decided: Decisions = {}
        for saved in self._read()[0]:
            if saved.revision <= revision:
                decided |= saved.decided
        return {path: what for path, what in decided.items() if what}

    def revision(self) -> int:
        """Of the last save; 0 where there is none."""
        return max((saved.revision for saved in self._read()[0]), default=0)

    def problems(self) -> list[str]:
        """Sentences on what cannot be read; all else is used."""
        return self._read()[1]

    def save(self, wanted: Mapping[str, str], *, shown: int = LAST) -> Decisions:
        """Append what differs from what the page showed, unless somebody else decided on it meanwhile.

        Args:
            wanted: by path, "" for no decision.
            shown: revision of the page on which it was decided.

        Returns:
            What was not saved: by path, what holds instead.

        Raises:
            StorageError: it cannot be written; nothing is saved then.
        """
        try:
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                before, now = self.holds(shown), self.holds()
                changed = {path: what for path, what in wanted.items() if what != before.get(path, "")}
                refused = {
                    path: now.get(path, "")
                    for path, what in changed.items()
                    if now.get(path, "") not in (before.get(path, ""), what)
                }
                taken = {
                    path: what
                    for path, what in changed.items()
                    if path not in refused and what != now.get(path, "")
                }
                if taken:
                    self._append(file.fileno(), taken)
        except OSError as error:
            raise StorageError(
                f"{self.path}: nothing was saved ({error}); check space and permissions, then save again"
            ) from None
        return refused

    def _append(self, handle: int, decided: Decisions) -> None:
        line = seals.sealed({"revision": self.revision() + 1, "saved_at": time.time(), "decided": decided})
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
                saved.append(Saved(int(content["revision"]), _decided(content["decided"])))
            except (ValueError, TypeError, KeyError, RecursionError, StorageError):
                problems.append(
                    f"{self.path}, line {number}, is damaged or was cut short by a crash: what was saved "
                    "with it is missing; all other decisions are used"
                )
        return saved, problems


def _decided(value: object) -> Decisions:
    if not isinstance(value, dict) or not all(isinstance(what, str) for what in value.values()):
        raise ValueError("not decisions")
    return {str(path): what for path, what in value.items()}

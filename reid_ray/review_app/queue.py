"""Keep batches of photos that were sent for naming, and name them one after another.

In: photos in a batch's folder. Out: a folder per batch with answers and decisions. Batches are named by
`python -m reid_ray.identify` in another process, so that a fault there ends nothing else; see `Worker`. What
is to be done is read off the folders, so a queue outlives its process.
"""

import asyncio
import csv
import datetime
import re
import shutil
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reid_ray.errors import StorageError
from reid_ray.review_app import regions
from reid_ray.review_app.answered import Answered, read_answered
from reid_ray.review_app.decisions import LAST, Decisions, Journal, grounds
from reid_ray.review_app.worker import Worker
from reid_ray.runs.lock import only_one

CONFIRMED = "confirmed.csv"
"""All decisions, beside the batches, so that the paths in it hold and it serves as `--reference`."""
FOR_SPREADSHEETS = "confirmed-spreadsheet.csv"
BATCH = re.compile(r"[0-9]{8}-[0-9]{6}(-[0-9]+)?")
ATTEMPTS = 3
"""Of a batch whose process is killed: memory that ran out may be there later."""
_FAULTY_INPUT = 2
"""Exit code of a command that will fail again in the same way."""
_ARRIVING = "arriving-"
_LINES = 12


@dataclass
class Batches:
    """Batches of photos below one folder, and the queue of those that wait to be named.

    Attributes:
        folder: of all batches; each has `photos/`, `log.txt`, then `answers/`, and `decisions.jsonl`.
        arguments: of `python -m reid_ray.identify`, without query and name.
        reviewer: who decides, as it is kept with each decision.
        problems: why a batch could not be started, by its name.
    """

    folder: Path
    arguments: Sequence[str]
    reviewer: str = ""
    worker: Worker = field(default_factory=Worker)
    running: str | None = None
    problems: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only server of this folder while the block runs.

        Raises:
            StorageError: another process serves it.
        """
        with only_one(self.folder, busy="folder {} is served already"):
            for left in self.folder.glob(f".{_ARRIVING}*"):  # by a server that ended while photos came
                shutil.rmtree(left, ignore_errors=True)
            yield

    def names(self) -> list[str]:
        """The latest first."""
        if not self.folder.is_dir():
            return []
        return sorted((p.name for p in self.folder.iterdir() if BATCH.fullmatch(p.name)), reverse=True)

    def arriving(self) -> Path:
        """A folder for photos that are being sent; it is no batch until `arrived`."""
        path = self.folder / f".{_ARRIVING}{datetime.datetime.now():%Y%m%d-%H%M%S-%f}"
        (path / "photos").mkdir(parents=True)
        return path

    def arrived(self, path: Path) -> str:
        """Make a batch of it, named by the time."""
        now = f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
        name, number = now, 1
        while (self.folder / name).exists():
            number += 1
            name = f"{now}-{number}"
        path.rename(self.folder / name)
        return name

    def state(self, name: str) -> str:
        """`done`, `running`, `waiting` or `failed`."""
        if (self.folder / name / "answers" / "cards.json").exists():
            return "done"
        if name == self.running:
            return "running"
        return "failed" if name in self.problems or self._failed(name).exists() else "waiting"

    def waiting(self) -> list[str]:
        """The earliest first."""
        return [name for name in reversed(self.names()) if self.state(name) == "waiting"]

    def again(self, name: str) -> None:
        """Put a batch into the queue once more; what is damaged of its answers is quarantined."""
        folder = self.folder / name
        self.problems.pop(name, None)
        self._failed(name).unlink(missing_ok=True)
        if (folder / "answers").exists():
            (folder / "answers").rename(folder / f"answers.before-{datetime.datetime.now():%Y%m%d-%H%M%S-%f}")

    def log(self, name: str) -> list[str]:
        """The last lines of what the naming said."""
        return _lines(self.folder / name / "log.txt")[-_LINES:]

    def why_failed(self, name: str) -> str:
        """In words, of a batch that failed."""
        return (
            self.problems.get(name)
            or _error_in(self.folder / name / "log.txt")
            or " ".join(_lines(self._failed(name)))
        )

    def answers(self, name: str) -> Answered:
        """What is said of a batch that is done, also of regions that were drawn since.

        Raises:
            StorageError: it is damaged.
        """
        folder = self.folder / name
        first, boxes = read_answered(folder / "answers"), self.journal(name).boxes()
        return regions.answered(folder, first, boxes) if boxes else first

    def asked_again(self, name: str) -> dict[str, str]:
        """By a card's first photo, what has become of the regions drawn on it: `waiting`, `running`, `done`,
        or `failed: ` and why."""
        folder, boxes = self.folder / name, self.journal(name).boxes()
        found = {}
        for card in read_answered(folder / "answers").cards if boxes else ():
            if state := regions.state_of(folder, card, boxes):
                path = str(card["path"])
                said = f"failed: {regions.why_failed(folder, card)}" if state == "failed" else state
                found[path] = "running" if self.running == f"{name}/{path}" else said
        return found

    def ask_again(self, name: str, path: str) -> None:
        """Put a card whose regions could not be answered into the queue once more."""
        for card in read_answered(self.folder / name / "answers").cards:
            if path in regions.paths_of(card):
                regions.again(self.folder / name, card)

    def photos(self, name: str) -> set[str]:
        return {path.name for path in (self.folder / name / "photos").iterdir()}

    def refused(self, name: str) -> list[str]:
        """Why files that were sent with a batch were not taken, or could not be read."""
        path = self.folder / name / "refused.txt"
        told = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        bad = self.folder / name / "answers" / "quarantined.csv"
        if bad.exists():
            with bad.open(encoding="utf-8", newline="") as file:
                sent = [row for row in csv.DictReader(file) if row["path"] in self.photos(name)]
            told += [f"{row['path']}: {row['reason']}; save it as JPEG and send that" for row in sent]
        return told

    def journal(self, name: str) -> Journal:
        return Journal(self.folder / name)

    def decisions(self, name: str) -> Decisions:
        return self.journal(name).holds()

    def save(
        self,
        name: str,
        wanted: Decisions,
        *,
        shown: int = LAST,
        boxes: Mapping[str, Sequence[float]] | None = None,
    ) -> Decisions:
        """Save decisions, and regions in shares of a photo's sides, with what they rest on.

        Returns:
            What was not saved, as somebody else decided meanwhile: by path, what holds instead.

        Raises:
            StorageError: nothing was saved. ValueError: a region is too small; a sentence.
        """
        folder, cards = self.folder / name, self.answers(name).cards
        drawn = {
            path: regions.pixels_of(folder, path, box) if box else [] for path, box in (boxes or {}).items()
        }
        card_of = {path: card for card in cards for path in regions.paths_of(card)}
        told = {path: grounds(card_of[path], what) for path, what in wanted.items() if path in card_of}
        return self.journal(name).save(
            wanted, shown=shown, boxes=drawn, reviewer=self.reviewer, evidence=told
        )

    async def work(self) -> None:
        """Name waiting batches, one after another, for ever; what befalls one ends no other."""
        try:
            await self._work()
        finally:
            await self.worker.end()

    async def _work(self) -> None:
        while True:
            if region := self._region():
                name, card = region
                await self._run(f"{name}/{card['path']}", self._ask(name, card))
            elif waiting := self.waiting():
                await self._run(waiting[0], self._attempt(waiting[0]))
            else:
                await asyncio.sleep(0.2)

    async def _run(self, what: str, task: Coroutine[Any, Any, None]) -> None:
        self.running = what
        try:
            await task
        except Exception as error:  # whatever it is, the next has its turn
            self.problems[what] = f"{type(error).__name__}: {error}"
        finally:
            self.running = None

    def _region(self) -> tuple[str, regions.Card] | None:
        """The next answer to be asked again: somebody looks at the page and waits."""
        for name in self.names():
            boxes = self.journal(name).boxes()
            if not boxes or self.state(name) != "done":
                continue
            with suppress(StorageError):
                for card in read_answered(self.folder / name / "answers").cards:
                    if regions.state_of(self.folder / name, card, boxes) == "waiting":
                        return name, card
        return None

    async def _ask(self, name: str, card: regions.Card) -> None:
        folder, boxes = self.folder / name, self.journal(name).boxes()
        words = regions.begin(folder, card, boxes, network="--model" in self.arguments)
        log = regions.folder_of(folder, card) / "log.txt"
        try:
            code = await self._identify(words, log)
            if not (log.parent / "answers" / "cards.json").exists():
                regions.fail(folder, card, _error_in(log) or _ended(code))
            else:
                regions.check(folder, card)
        except Exception as error:
            regions.fail(folder, card, f"{type(error).__name__}: {error}")

    async def _attempt(self, name: str) -> None:
        code = 0
        for _ in range(ATTEMPTS):
            code = await self._name(name)
            if code in (0, _FAULTY_INPUT):
                break
        if not (self.folder / name / "answers" / "cards.json").exists():
            self._failed(name).write_text(_ended(code), encoding="utf-8")

    def _failed(self, name: str) -> Path:
        return self.folder / name / "failed.txt"

    async def _name(self, name: str) -> int:
        """One try; its exit code."""
        folder = self.folder / name
        return await self._identify(
            ["--query", str(folder / "photos"), "--out", str(folder)], folder / "log.txt"
        )

    async def _identify(self, words: Sequence[str], log: Path) -> int:
        kept = ["--set", "name=answers", "--set", "keep_cards=true"]
        return await self.worker.do([*words, *self.arguments, *kept], log)


def _ended(code: int) -> str:
    """Of a process that said nothing of why."""
    if code < 0:
        return f"identify was killed (signal {-code}); the memory of this machine may have run out"
    return f"identify ended with exit code {code}"


def _error_in(log: Path) -> str:
    """What a command said last of why it failed; "" where it said nothing."""
    said = [line for line in _lines(log) if line.startswith("error: ")]
    return said[-1].removeprefix("error: ") if said else ""


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []

"""Keep batches of photos that were sent for naming, and name them one after another.

In: photos in a batch's folder. Out: a folder per batch with answers and decisions, and tables of what was
decided. Batches are named by `python -m reid_ray.identify` in another process, so that a fault there ends
nothing else; see `Worker`. What is to be done is read off the folders, so a queue outlives its process.
"""

import asyncio
import datetime
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from reid_ray.errors import StorageError
from reid_ray.reporting.answers import Answers, answers_of
from reid_ray.reporting.tables import to_csv, to_plain_csv
from reid_ray.review_app.decisions import Decisions, Journal
from reid_ray.review_app.worker import Worker
from reid_ray.runs import files
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
        problems: why a batch could not be started, by its name.
    """

    folder: Path
    arguments: Sequence[str]
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
        """The last lines of what the naming said, and why it could not be started."""
        path = self.folder / name / "log.txt"
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return lines[-_LINES:] + ([self.problems[name]] if name in self.problems else [])

    def answers(self, name: str) -> tuple[Answers, list[dict[str, Any]]]:
        """Answers and cards of a batch that is done.

        Raises:
            StorageError: they are damaged.
        """
        folder = self.folder / name / "answers"
        cards = files.read_json(folder / "cards.json")
        try:
            return answers_of(files.read_json(folder / "answers.json")), cards
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"{folder / 'answers.json'}: damaged ({error!r})") from None

    def photos(self, name: str) -> set[str]:
        return {path.name for path in (self.folder / name / "photos").iterdir()}

    def refused(self, name: str) -> list[str]:
        """Why files that were sent with a batch were not taken."""
        path = self.folder / name / "refused.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def journal(self, name: str) -> Journal:
        return Journal(self.folder / name)

    def decisions(self, name: str) -> Decisions:
        return self.journal(name).holds()

    def write_confirmed(self) -> None:
        """Write both tables of all decisions anew; they are made from the journals and can be made again."""
        table = self.confirmed(self.names())
        files.write_bytes(self.folder / CONFIRMED, to_plain_csv(table).encode("utf-8", "replace"))
        files.write_bytes(self.folder / FOR_SPREADSHEETS, to_csv(table).encode("utf-8", "replace"))

    def confirmed(self, names: Sequence[str]) -> pd.DataFrame:
        """What was decided, as a table that `--reference` takes: path, identity, batch."""
        rows = [
            {
                "path": f"{name}/photos/{path}",
                "batch": name,
                "identity": what[3:] if what.startswith("is:") else "unknown",
            }
            for name in names
            for path, what in sorted(self.decisions(name).items())
        ]
        return pd.DataFrame(rows, columns=["path", "identity", "batch"])

    async def work(self) -> None:
        """Name waiting batches, one after another, for ever; what befalls one ends no other."""
        try:
            await self._work()
        finally:
            await self.worker.end()

    async def _work(self) -> None:
        while True:
            waiting = self.waiting()
            if not waiting:
                await asyncio.sleep(0.2)
                continue
            self.running = waiting[0]
            try:
                await self._attempt(self.running)
            except Exception as error:  # whatever it is, the next batch has its turn
                self.problems[self.running] = f"{type(error).__name__}: {error}"
            finally:
                self.running = None

    async def _attempt(self, name: str) -> None:
        code = 0
        for _ in range(ATTEMPTS):
            code = await self._name(name)
            if code in (0, _FAULTY_INPUT):
                break
        if not (self.folder / name / "answers" / "cards.json").exists():
            self._failed(name).write_text(f"exit code {code}\n", encoding="utf-8")

    def _failed(self, name: str) -> Path:
        return self.folder / name / "failed.txt"

    async def _name(self, name: str) -> int:
        """One try; its exit code."""
        folder = self.folder / name
        words = [*self.arguments, "--query", str(folder / "photos"), "--out", str(folder)]
        words += ["--set", "name=answers", "--set", "keep_cards=true"]
        return await self.worker.do(words, folder / "log.txt")

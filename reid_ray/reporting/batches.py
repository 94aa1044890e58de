"""Keep batches of photos that were sent for naming, and what people decided on them.

In: photos in a batch's folder. Out: a folder per batch with answers and decisions, and tables of what
was decided. Each batch is named by `python -m reid_ray.identify` in a process of its own, one after
another, so that a fault there ends nothing else, and what was decided is kept.
"""

import asyncio
import datetime
import re
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from reid_ray.reporting.answers import Answers, answers_of
from reid_ray.reporting.captures import TOLD, capture_tables
from reid_ray.reporting.tables import to_csv
from reid_ray.runs import files

CONFIRMED = "confirmed.csv"
"""All decisions, beside the batches, so that the paths in it hold and it serves as `--reference`."""
BATCH = re.compile(r"[0-9]{8}-[0-9]{6}(-[0-9]+)?")
_LINES = 12


@dataclass
class Batches:
    """Batches of photos below one folder, and the queue of those that wait to be named.

    Attributes:
        folder: of all batches; each has `photos/`, `log.txt`, then `answers/`, and `decisions.json`.
        arguments: of `python -m reid_ray.identify`, without query and name.
    """

    folder: Path
    arguments: Sequence[str]
    waiting: deque[str] = field(default_factory=deque)
    running: str | None = None

    def names(self) -> list[str]:
        """The latest first."""
        if not self.folder.is_dir():
            return []
        return sorted((p.name for p in self.folder.iterdir() if BATCH.fullmatch(p.name)), reverse=True)

    def new(self) -> str:
        """Make a folder named by the time."""
        now = f"{datetime.datetime.now():%Y%m%d-%H%M%S}"
        name, number = now, 1
        while (self.folder / name).exists():
            number += 1
            name = f"{now}-{number}"
        (self.folder / name / "photos").mkdir(parents=True)
        return name

    def state(self, name: str) -> str:
        """`done`, `running`, `waiting` or `failed`."""
        if (self.folder / name / "answers" / "cards.json").exists():
            return "done"
        if name == self.running:
            return "running"
        return "waiting" if name in self.waiting else "failed"

    def log(self, name: str) -> list[str]:
        """The last lines of what the naming said."""
        path = self.folder / name / "log.txt"
        return (
            path.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:] if path.exists() else []
        )

    def answers(self, name: str) -> tuple[Answers, list[dict[str, Any]]]:
        """Answers and cards of a batch that is done."""
        folder = self.folder / name / "answers"
        return answers_of(files.read_json(folder / "answers.json")), files.read_json(folder / "cards.json")

    def refused(self, name: str) -> list[str]:
        """Why files that were sent with a batch were not taken."""
        path = self.folder / name / "refused.txt"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def decisions(self, name: str) -> dict[str, str]:
        """By path: `is:<animal>` or `unknown`."""
        path = self.folder / name / "decisions.json"
        return dict(files.read_json(path)) if path.exists() else {}

    def decide(self, name: str, decided: dict[str, str]) -> None:
        """Add to what was decided; an empty decision takes one back."""
        kept = {**self.decisions(name), **decided}
        files.write_json(
            self.folder / name / "decisions.json", {path: what for path, what in kept.items() if what}
        )
        confirmed = self.confirmed(self.names())
        named = confirmed[confirmed["identity"].ne("unknown")]
        for file, table in {CONFIRMED: confirmed, **capture_tables(named)}.items():
            files.write_bytes(self.folder / file, to_csv(table).encode("utf-8", "replace"))

    def confirmed(self, names: Sequence[str]) -> pd.DataFrame:
        """What was decided, as a table that `--reference` takes: path, identity, batch, and what is known
        of the photo."""
        rows = []
        for name in names:
            known = self._known(name)
            for path, what in sorted(self.decisions(name).items()):
                identity = what[3:] if what.startswith("is:") else "unknown"
                place = {"path": f"{name}/photos/{path}", "batch": name, "identity": identity}
                rows.append(known.get(path, {}) | place)
        others = [name for name in TOLD if name != "path"]
        return pd.DataFrame(rows, columns=["path", "identity", "batch", *others]).fillna("")

    def _known(self, name: str) -> dict[str, dict[str, str]]:
        """By path: what the photos of a batch came with."""
        if self.state(name) != "done":
            return {}
        rows = self.answers(name)[0].rows
        return {
            str(row["path"]): {str(key): str(cell) for key, cell in row.items()}
            for row in rows.to_dict("records")
        }

    async def work(self) -> None:
        """Name waiting batches, one after another, for ever."""
        while True:
            if not self.waiting:
                await asyncio.sleep(0.2)
                continue
            self.running = self.waiting.popleft()
            try:
                await self._name(self.running)
            finally:
                self.running = None

    async def _name(self, name: str) -> None:
        folder = self.folder / name
        command = [
            sys.executable,
            "-m",
            "reid_ray.identify",
            *self.arguments,
            "--query",
            str(folder / "photos"),
            "--out",
            str(folder),
            "--set",
            "name=answers",
            "--set",
            "keep_cards=true",
        ]
        with (folder / "log.txt").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                await process.wait()
            except asyncio.CancelledError:
                process.terminate()
                await process.wait()
                raise

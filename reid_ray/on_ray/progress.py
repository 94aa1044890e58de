"""Show how far a study is: bars on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

LINE_EVERY_S = 10.0
KNOWN_FROM = 0.05
"""Share of the work from which on the time left is told."""


@dataclass
class Phase:
    """One stretch of work with a known size; `at(done)` as often as one likes."""

    name: str
    total: int
    unit: str
    console: Console
    bar: Progress | None = None
    task: TaskID | None = None
    started: float = field(default_factory=time.monotonic)
    told: float = field(default_factory=time.monotonic)

    def at(self, done: int, detail: str = "") -> None:
        """Show `done` of `total`, with a few words on what is happening."""
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, detail=detail)
            return
        now = time.monotonic()
        if now - self.told < LINE_EVERY_S or done >= self.total:
            return
        self.told = now
        elapsed = now - self.started
        # Start-up spoils the estimate at first.
        known = done > self.total * KNOWN_FROM
        left = f", about {_clock(elapsed / done * (self.total - done))} left" if known else ""
        text = f"  {self.name}: {done}/{self.total} {self.unit}{left}"
        self.console.print(
            text + (f"  ({detail})" if detail else ""), markup=False, highlight=False
        )


class Display:
    """Where a run tells what it does; one phase at a time."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, soft_wrap=True)
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the time since the start."""
        elapsed = _clock(time.monotonic() - self.started)
        self.console.print(f"[dim]{elapsed:>6}[/dim] ", end="")
        self.console.print(text, markup=False, highlight=False)

    @contextmanager
    def phase(self, name: str, total: int, unit: str) -> Iterator[Phase]:
        """Follow one stretch of work; its time is told at the end."""
        if self.console.is_terminal and total:
            columns = (
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn(unit), TimeElapsedColumn(), TimeRemainingColumn(),
                TextColumn("{task.fields[detail]}"),
            )  # fmt: skip
            with Progress(*columns, console=self.console, transient=True) as bar:
                task = bar.add_task(name, total=total, detail="")
                phase = Phase(name, total, unit, self.console, bar, task)
                yield phase
        else:
            phase = Phase(name, total, unit, self.console)
            yield phase
        if total:
            self.say(f"{name}: {total} {unit} in {_clock(time.monotonic() - phase.started)}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

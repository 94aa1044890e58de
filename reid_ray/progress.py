"""Show how far a study is: bars on a terminal, plain lines every few seconds elsewhere."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

LINE_EVERY_S, LATER_S = 10.0, 60.0
"""Where there is no terminal: a line so often in the first minute, and so often later."""
RATE_OVER_S = 60.0
"""Speed and time left are those of so many last seconds, so that a slow start is soon forgotten."""


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
    steps: deque[tuple[float, int]] = field(default_factory=deque)
    """(when, done) of the last changes."""

    def at(self, done: int, detail: str = "") -> None:
        """Show `done` of `total`, with a few words on what is happening."""
        now = time.monotonic()
        self._note(now, done)
        if self.bar is not None and self.task is not None:
            speed = _speed(self.rate(now))
            late = self.rate(now)
            left = f"{_clock((self.total - done) / late)} left" if late else ""
            self.bar.update(self.task, completed=done, detail=detail, rate=speed, left=left)
            return
        every = LINE_EVERY_S if now - self.started < LATER_S else LATER_S
        if now - self.told < every or done >= self.total:
            return
        self.told = now
        rate = self.rate(now)
        known = f", {_speed(rate)}, about {_clock((self.total - done) / rate)} left" if rate else ""
        text = f"  {self.name}: {done}/{self.total} {self.unit}{known}"
        self.console.print(text + (f"  ({detail})" if detail else ""), markup=False, highlight=False)

    def rate(self, now: float) -> float:
        """Units per second of late; 0 where it is not known yet.

        The first step does not count: it holds the start-up and what an earlier start had done.
        """
        if len(self.steps) < 2:
            return 0.0
        (began, first), (_, last) = self.steps[0], self.steps[-1]
        return (last - first) / max(now - began, 1e-9)

    def _note(self, now: float, done: int) -> None:
        """Keep the steps of the last `RATE_OVER_S`, and the one before."""
        if done > (self.steps[-1][1] if self.steps else 0):
            self.steps.append((now, done))
        while len(self.steps) > 2 and self.steps[1][0] < now - RATE_OVER_S:
            self.steps.popleft()


@dataclass
class Step:
    """A part of a phase that is counted by itself, such as the choice of settings before matching."""

    name: str = ""
    began: float = 0.0
    first: int = 0

    def text(self, name: str, done: int, total: int) -> str:
        """`name 120 of 1000, about 0:45 left`; of another name, a new step begins."""
        now = time.monotonic()
        if name != self.name or done < self.first:
            self.name, self.began, self.first = name, now, done
        if not total:
            return name
        rate = (done - self.first) / (now - self.began) if now > self.began else 0.0
        left = f", about {_clock((total - done) / rate)} left" if rate and done < total else ""
        return f"{name} {done} of {total}{left}"


class Display:
    """Where a run tells what it does; one phase at a time.

    Args:
        bars: show them on a terminal; without, lines are written as on none.
    """

    def __init__(self, console: Console | None = None, *, bars: bool = True) -> None:
        # A notebook keeps all that is written: plain lines, as on no terminal.
        notebook = "ipykernel" in sys.modules
        self.console = console or Console(
            file=sys.stdout, soft_wrap=True, force_jupyter=False, force_terminal=False if notebook else None
        )
        self.started, self.bars = time.monotonic(), bars

    def aside(self) -> "Display":
        """For work beside the phase that has the bar: the same clock, in lines."""
        beside = Display(self.console, bars=False)
        beside.started = self.started
        return beside

    def say(self, text: str) -> None:
        """One line, with the time since the start."""
        elapsed = _clock(time.monotonic() - self.started)
        self.console.print(f"[dim]{elapsed:>6}[/dim] ", end="")
        self.console.print(text, markup=False, highlight=False)

    @contextmanager
    def phase(self, name: str, total: int, unit: str) -> Iterator[Phase]:
        """Follow one stretch of work; its time is told at the end."""
        if self.bars and self.console.is_terminal and total:
            with Progress(*_columns(unit), console=self.console, transient=True) as bar:
                task = bar.add_task(name, total=total, detail="", rate="", left="")
                phase = Phase(name, total, unit, self.console, bar, task)
                yield phase
        else:
            phase = Phase(name, total, unit, self.console)
            yield phase
        if total:
            self.say(f"{name}: {total} {unit} in {_clock(time.monotonic() - phase.started)}")


class _Cut(TextColumn):
    """Words that are cut to what room there is."""

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def _columns(unit: str) -> tuple[ProgressColumn, ...]:
    """How much and how long yet are never cut; what it is called and what is happening are."""

    def whole() -> Column:
        return Column(no_wrap=True)

    return (
        SpinnerColumn(table_column=whole()),
        MofNCompleteColumn(table_column=whole()),
        TextColumn(unit, table_column=whole()),
        TextColumn("{task.fields[rate]}", table_column=whole()),
        TextColumn("{task.fields[left]}", table_column=whole()),
        BarColumn(bar_width=12, table_column=whole()),
        TimeElapsedColumn(table_column=whole()),
        _Cut("{task.description}", markup=False, table_column=Column()),
        _Cut("{task.fields[detail]}", markup=False, table_column=Column()),
    )


def _speed(rate: float) -> str:
    """`1,200/s`, of slow work `4.2/min`, `2.0/h`; "" where it is not known."""
    for per, seconds in ("s", 1), ("min", 60), ("h", 3600):
        if rate * seconds >= 1:
            return f"{rate * seconds:,.{0 if rate * seconds >= 100 else 1}f}/{per}"
    return f"{rate * 3600:.1g}/h" if rate else ""


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

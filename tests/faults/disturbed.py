"""A whole study whose processes are killed and halted again and again, and what was seen of its results."""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from reid_ray.runs.methods import MethodFolder

STUCK_S = 420.0
"""A start that leaves nothing new for so long hangs."""
HALTED_S = 2.0

KINDS = {
    "ray::ImplicitFunc": "a trial",
    "ray::RayTrainWorker": "a DDP worker",
    "ray::TrainController": "the controller of DDP workers",
    "ray::Matcher": "a matching actor",
    "ray::Embedder": "an embedding actor",
    "ray::Map": "a task that prepares photos",
    "raylet": "the raylet",
    "gcs_server": "Ray's control store",
    "ray::": "another process of Ray",
}
"""By how a process is called; the first that fits."""
DRIVER = "the driver"
FATAL = {DRIVER, "the raylet", "Ray's control store", "another process of Ray"}
"""Kinds that a start may not survive. They are hit only once it has got somewhere, or none ever would."""

MOST_OF_A_KIND = 3
"""What is there for long would otherwise take all hits."""
LOSSES_THAT_ARE_MENDED = 3
"""Of the other kinds, within one start, even if it is the same trial each time."""


@dataclass
class Disturbed:
    """A study, and what was done to it.

    Attributes:
        hits: how often a living process of each kind was killed, or halted for a while.
        again: methods whose whole result was lost, or written anew.
    """

    folder: Path
    config: Path
    rng: np.random.Generator
    hits: Counter[str] = field(default_factory=Counter)
    again: list[str] = field(default_factory=list)
    _written: dict[str, int] = field(default_factory=dict)

    @property
    def methods(self) -> Path:
        return self.folder / "runs" / "soak" / "methods"

    def run(self, *, most_hits: int) -> None:
        """Start the command until a start ends well; the last one is left alone.

        Raises:
            AssertionError: a start hung, left processes, or did not survive what it should.
        """
        while True:
            before = self.hits.copy()
            code = self._start(most_hits)
            hits = self.hits - before
            fatal = any(hit.partition(" of ")[2] in FATAL for hit in hits)
            survives = not fatal and hits.total() <= LOSSES_THAT_ARE_MENDED
            assert code == 0 or not survives, f"ended with {code} after {hits}: {self.said()}"
            if not hits:
                return

    def said(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")[-3000:]

    def epochs_again(self) -> int:
        """Epochs of trainings that are in the histories more than once."""
        paths = list(self.methods.glob("*/history.jsonl"))
        lines = [line for path in paths for line in path.read_text().splitlines() if line]
        return len(lines) - sum(len(MethodFolder(path.parent).history()) for path in paths)

    def _start(self, most_hits: int) -> int:
        """One start of the command; its exit code."""
        command = [sys.executable, "-m", "reid_ray.tune", str(self.config)]
        with (self.folder / "log.txt").open("ab") as log, short_folder() as short:
            environment = os.environ | {"RAY_TMPDIR": short}
            driver = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            try:
                self._follow(driver, most_hits)
            finally:
                driver.kill()  # where it hangs
                code = driver.wait()
                leave(short)
        self._look()
        return code

    def _follow(self, driver: subprocess.Popen[bytes], most_hits: int) -> None:
        """Hit something every few seconds until the driver has ended."""
        got_to = at_first = self._got_to()
        moved = time.monotonic()
        while driver.poll() is None:
            time.sleep(float(self.rng.uniform(1, 4)))
            self._look()
            if (now := self._got_to()) != got_to:
                got_to, moved = now, time.monotonic()
            assert time.monotonic() - moved < STUCK_S, f"it hangs: {self.said()}"
            if driver.poll() is None and self.hits.total() < most_hits:
                self._hit(driver.pid, fatal=got_to != at_first)

    def _got_to(self) -> list[int]:
        """Grows with whatever the study has kept."""
        paths = [path for path in self.methods.rglob("*") if path.is_file()]
        return [len(paths), sum(path.stat().st_size for path in paths if path.exists())]

    def _hit(self, driver: int, *, fatal: bool) -> None:
        """Kill, or sometimes halt, a process of a kind that is there, each kind as likely as another."""
        kinds: dict[str, list[psutil.Process]] = {}
        first = psutil.Process(driver)  # stays until it is waited for
        for process in alive([first, *first.children(recursive=True)]):
            if kind := DRIVER if process == first else kind_of(process):
                kinds.setdefault(kind, []).append(process)
        choice = sorted(
            kind
            for kind in kinds
            if self._hits_of(kind) < MOST_OF_A_KIND
            and (kind not in FATAL or (fatal and self.rng.random() < 0.25))
        )
        if not choice:
            return
        kind = choice[int(self.rng.integers(len(choice)))]
        victim = kinds[kind][int(self.rng.integers(len(kinds[kind])))]
        with suppress(psutil.NoSuchProcess):  # it ended by itself: no hit
            if self.rng.random() < 0.25:
                self.hits[f"SIGSTOP of {kind}"] += halt(victim)
            else:
                victim.kill()
                self.hits[f"SIGKILL of {kind}"] += 1

    def _hits_of(self, kind: str) -> int:
        return sum(times for hit, times in self.hits.items() if hit.endswith(f" of {kind}"))

    def _look(self) -> None:
        """No whole result that was there may be gone or written anew."""
        for path in self.methods.glob("*/result.json"):
            folder = MethodFolder(path.parent)
            if folder.done():
                written = path.stat().st_mtime_ns
                if self._written.setdefault(folder.path.name, written) != written:
                    self.again.append(folder.path.name)
        self.again += [key for key in self._written if not (self.methods / key / "result.json").exists()]


def alive(processes: list[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        try:
            if process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                yield process
        except psutil.NoSuchProcess:
            continue


def halt(process: psutil.Process) -> bool:
    """Stop a process for a while; whether it was seen to stand still."""
    process.suspend()
    time.sleep(HALTED_S)
    stood = process.status() == psutil.STATUS_STOPPED
    process.resume()
    return stood


def kind_of(process: psutil.Process) -> str:
    """What of a study it is; "" where it is nothing of interest."""
    try:
        title = process.name()
        if title not in KINDS:
            title = (process.cmdline() or [""])[0]
    except psutil.Error:
        return ""
    return next((kind for start, kind in KINDS.items() if title.startswith(start)), "")


def short_folder() -> tempfile.TemporaryDirectory[str]:
    """Names of Ray's sockets must be short."""
    return tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True)


def leave(short: str) -> None:
    """Wait for what a driver's Ray left behind; it goes by itself when its driver is gone."""
    ends = time.monotonic() + 90
    while time.monotonic() < ends and list(ours(short)):
        time.sleep(0.5)
    assert not list(ours(short)), "Ray's processes outlive their driver"


def ours(short: str) -> Iterator[psutil.Process]:
    """Processes that are still alive and know this folder of Ray's."""
    for process in alive(list(psutil.process_iter())):
        try:
            if any(short in word for word in process.cmdline()):
                yield process
        except psutil.Error:
            continue

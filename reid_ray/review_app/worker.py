"""Keep one process of `identify` between batches, so that the next is answered without starting all anew.

In: arguments. Out: exit codes. A process that failed is ended, as nobody knows what it left behind; one whose
server is gone reads the end of its input and ends by itself.
"""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reid_ray import identify

_FINE = (0, 2)
"""Exit codes after which the process goes on: done, and input that cannot be used."""
_PATIENCE_S = 20.0


@dataclass
class Worker:
    """At most one process at a time."""

    process: Process | None = None
    command: Sequence[str] = field(
        default_factory=lambda: (sys.executable, "-m", identify.__name__, "--serve")
    )

    async def do(self, words: Sequence[str], log: Path) -> int:
        """Identify once; the exit code, also of a process that died."""
        process = await self._started(log)
        assert process.stdin is not None
        assert process.stdout is not None
        code = None
        try:
            line = json.dumps({"arguments": list(words), "log": str(log)})
            process.stdin.write(line.encode() + b"\n")
            answer = await process.stdout.readline()
            if answer:
                code = int(json.loads(answer)["code"])
                return code
            return (await process.wait()) or 1
        finally:
            if code not in _FINE:
                await self.end()

    async def end(self) -> None:
        """End the process, if there is one."""
        process, self.process = self.process, None
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _PATIENCE_S)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _started(self, log: Path) -> Process:
        if self.process is None or self.process.returncode is not None:
            with log.open("wb") as said:  # why it could not be started is told with the first batch
                self.process = await asyncio.create_subprocess_exec(
                    *self.command, stdin=PIPE, stdout=PIPE, stderr=said
                )
        return self.process

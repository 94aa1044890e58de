"""Do something that may be meant to hurt, in a process with little time and memory of its own."""

import argparse
import contextlib
import io
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import psutil
from faulty import forked

from reid_ray import command

CPU_S = 20
MEMORY = 2 << 30
FAULT = "this is a fault of the program"


def told(action: Callable[[], object], folder: Path) -> tuple[int, str]:
    """Exit code and what a user sees of a command that does `action`, without `--debug`.

    What it returns is printed. It is killed after `CPU_S` of work, and has `MEMORY` more than is in use.
    """
    answer = folder / "told.json"

    def act(_: argparse.Namespace) -> int:
        print(action())
        return 0

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        most = psutil.Process().memory_info().vms + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = command.guarded(argparse.Namespace(debug=False), act)
        answer.write_text(json.dumps([code, said.getvalue()]))

    answer.unlink(missing_ok=True)
    with forked(limited) as child:
        status = os.waitpid(child, 0)[1]
    assert status == 0, f"ended by {os.waitstatus_to_exitcode(status)}: too long, or a crash"
    code, text = json.loads(answer.read_text())
    assert "Traceback" not in text
    assert FAULT not in text, text
    assert len(text) < 5000
    return code, text

"""What goes wrong outside of the program is told with the way out; its own faults are not."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import GetTimeoutError

from reid_ray.errors import explained


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "x", "runs/a"), "runs/a: the disk is full"),
        (FileNotFoundError(errno.ENOENT, "x", "photos"), "photos: no such file or folder"),
        (PermissionError(errno.EACCES, "x", "photos"), "photos: not allowed"),
        (OSError(errno.EADDRINUSE, "x"), "the port is used by another program"),
        (MemoryError(), "out of memory"),
        (GetTimeoutError("Get timed out"), "Ray did not start in time (Get timed out)"),
    ],
)
def test_a_fault_outside_is_explained(error: Exception, sentence: str) -> None:
    assert str(explained(error)).startswith(sentence)


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("timed out"), ZeroDivisionError(), OSError("x")])
def test_a_fault_of_the_program_is_not(error: Exception) -> None:
    assert explained(error) is None


def test_what_led_to_an_error_explains_it() -> None:
    outer = RuntimeError("cannot write")
    outer.__cause__ = OSError(errno.ENOSPC, "x")
    assert "the disk is full" in str(explained(outer))


def test_a_reader_that_has_had_enough_is_no_fault(tmp_path: Path) -> None:
    code = (
        "import argparse\n"
        "from reid_ray.command import guarded\n"
        "def act(_):\n"
        "    for n in range(100000): print(n)\n"
        "    return 0\n"
        "raise SystemExit(guarded(argparse.Namespace(debug=False), act))\n"
    )
    (tmp_path / "many.py").write_text(code)
    command = f"{sys.executable} {tmp_path / 'many.py'} | head -1"
    told = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert told.stdout == "0\n"
    assert told.stderr == ""

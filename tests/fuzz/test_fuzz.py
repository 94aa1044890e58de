"""A few seconds of fuzzing in each run of the tests; longer by hand, see `run.py`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from targets import SEEDS, TARGETS

SECONDS = 6


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken(name: str) -> None:
    for seed in SEEDS[name]():
        TARGETS[name](seed)


def test_some_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="has wheels for Linux alone")
    command = [
        sys.executable,
        str(Path(__file__).with_name("run.py")),
        "ours",
        "--seconds",
        str(SECONDS),
        "--corpus",
        str(tmp_path),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr[-4000:]
    (executions,) = re.findall(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr)
    assert int(executions) > 100

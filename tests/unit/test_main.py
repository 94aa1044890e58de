"""All commands are found by who knows none of their names."""

import subprocess
import sys
from pathlib import Path

import pytest

import reid_ray
from reid_ray.__main__ import COMMANDS


def said(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "reid_ray", *words], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_without_words_all_commands_are_listed() -> None:
    code, text = said()
    assert code == 0
    assert all(f"  {name} " in text for name in COMMANDS)


def test_every_module_that_can_be_run_is_listed() -> None:
    there = {
        path.stem
        for path in Path(reid_ray.__file__).parent.glob("*.py")
        if 'if __name__ == "__main__"' in path.read_text() and path.stem != "__main__"
    }
    assert set(COMMANDS) == there


def test_a_command_that_is_misspelt_is_told_with_what_is_meant() -> None:
    assert said("idenitfy") == (2, "error: no command 'idenitfy'; did you mean identify?\n")


@pytest.mark.parametrize("name", ["identify", "doctor"])
def test_words_after_a_command_are_its_own(name: str) -> None:
    code, text = said(name, "--help")
    assert code == 0
    assert f"usage: python -m reid_ray.{name}" in text

"""All commands are found by who knows none of their names."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import reid_ray
from reid_ray import command
from reid_ray.__main__ import COMMANDS
from reid_ray.command import EXAMPLES
from reid_ray.config.named import find


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


@pytest.mark.parametrize(("name", "words"), [(name, one) for name in EXAMPLES for one in EXAMPLES[name]])
def test_examples_of_help_are_understood(name: str, words: str) -> None:
    module = import_module(f"reid_ray.{name}")
    if hasattr(module, "arguments"):
        module.arguments().parse_args(words.split())
        return
    given = command._config_parser(name, "quickstart", "some words").parse_args(words.split())
    if given.config != "mine.yaml":
        find(name, given.config)


def test_every_command_has_examples_and_its_configs_in_its_help() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    text = said("match", "--help")[1]
    assert "  reid-ray match lion" in text
    assert "  lion         LionData in the published split (585 reference, 155 query): minutes on two cores" in text

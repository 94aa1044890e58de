"""All commands are found by who knows none of their names."""

import subprocess
import sys
from pathlib import Path

import pytest

import reid_ray
from reid_ray.__main__ import COMMANDS, SHELLS, parsers
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
    given = parsers()[name].parse_args(words.split())
    if getattr(given, "config", None) not in (None, "mine.yaml"):
        find(name, given.config)


def test_every_command_has_examples_and_its_configs_in_its_help() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    text = said("match", "--help")[1]
    assert "  reid-ray match lion" in text
    assert (
        "  lion         LionData in the published split (585 reference, 155 query): minutes on two cores"
        in text
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_has_a_completion(shell: str) -> None:
    code, text = said("completion", shell)
    assert code == 0
    assert "--tracking-uri" in text


def test_bash_completes_commands_options_and_configs() -> None:
    """Asked of bash itself."""

    def completed(*words: str) -> set[str]:
        line = " ".join(words)
        script = (
            f"{said('completion', 'bash')[1]}\n"
            f"COMP_WORDS=({' '.join(repr(word) for word in words)}); COMP_CWORD={len(words) - 1}\n"
            f"COMP_LINE={line!r}; COMP_POINT={len(line)}\n"
            "$(complete -p reid-ray | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
            "printf '%s\\n' \"${COMPREPLY[@]}\"\n"
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
        return set(done.stdout.split())

    assert completed("reid-ray", "ide") == {"identify"}
    assert completed("reid-ray", "tune", "--dr") == {"--dry-run"}
    assert "lion" in completed("reid-ray", "match", "li")


def test_a_shell_without_completion_is_told() -> None:
    assert said("completion", "fish") == (2, "error: no completion for 'fish'; shells are bash, zsh\n")

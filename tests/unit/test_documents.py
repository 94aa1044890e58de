"""What documents say can be typed: commands and options are there, and links lead somewhere."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid_ray.__main__ import parsers

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for folder in (".", "reports", "cluster", "tune_configs", "examples")
    for path in (ROOT / folder).glob("*.md")
)
OF_OTHERS = {
    *("--working-dir", "--dashboard-host"),  # Ray
    *("--cpus-per-task", "--mem"),  # SLURM
    *("--profile", "--allowed-hosts", "--torch-backend"),  # compose, MLflow, uv
}
"""Options of other programs that documents name by themselves."""
_CODE = re.compile(r"^```\w*\n(.*?)^```$|`([^`\n]+)`", re.M | re.S)
_OURS = re.compile(r"(?:python -m reid_ray\.|(?<![-\w/] )(?<![-/\w])reid-ray )(\w+)([^\n]*)")
_SCRIPT = re.compile(r"python (benchmarks/\w+\.py|examples/\w+\.py)([^\n]*)")


def codes(text: str) -> Iterator[str]:
    """Blocks and pieces of code, continued lines joined, without the brackets of what may be left out."""
    for block, piece in _CODE.findall(text):
        yield re.sub(r"[\[\]]", " ", (block or piece).replace("\\\n", " "))


def options(rest: str) -> list[str]:
    """Options of the first command in a line."""
    words = shlex.split(re.split(r"\s(?:#|\||&&|>|;)", rest)[0].replace("'", ""))
    return [word.split("=")[0] for word in words if word.startswith("--")]


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return {name: options_of(one) for name, one in parsers().items()}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*(options_of(inner) for inner in action.choices.values()))
    return found


def in_a_script(option: str) -> bool:
    scripts = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/f*/*.py")]
    return any(f'"{option}"' in script.read_text(encoding="utf-8") for script in scripts)


def names(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def unknown_words(text: str, known: dict[str, set[str]]) -> list[str]:
    """Commands that are not there, and options that their command does not have."""
    bad = []
    for code in codes(text):
        for command, rest in _OURS.findall(code):
            if command in ("config", "COMMAND", "completion"):
                continue  # the module of the settings' page, any command, no command of its own
            if command not in known:
                bad.append(command)
                continue
            bad += [f"{command} {one}" for one in options(rest) if one not in known[command]]
        for script, rest in _SCRIPT.findall(code):
            if not (ROOT / script).is_file():
                bad.append(script)
                continue
            source = (ROOT / script).read_text(encoding="utf-8")
            bad += [f"{script} {one}" for one in options(rest) if f'"{one}"' not in source]
        if code.startswith("--"):  # named without its command
            ours = {name for of in known.values() for name in of}
            bad += [one for one in options(code) if one not in ours | OF_OTHERS and not in_a_script(one)]
    return bad


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_every_command_and_option_is_there(document: Path, known: dict[str, set[str]]) -> None:
    assert unknown_words(document.read_text(encoding="utf-8"), known) == []


def test_words_that_are_not_there_are_found(known: dict[str, set[str]]) -> None:
    text = (
        "Try `reid-ray idenitfy`, `kubectl -n reid-ray get pods`, `python benchmarks/none.py`,\n"
        "`--nothing 3`:\n"
        "```sh\npython -m reid_ray.tune mine.yaml \\\n  --dry-runs  # --no\n"
        "reid-ray report --out there\n```\n"
    )
    assert unknown_words(text, known) == ["idenitfy", "benchmarks/none.py", "--nothing", "tune --dry-runs"]


@pytest.mark.parametrize("document", DOCUMENTS, ids=names)
def test_links_to_files_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (document.parent / target).exists()] == []

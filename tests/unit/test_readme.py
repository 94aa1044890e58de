"""Every block of code in the README does what it says, on photos drawn for the purpose.

A comment before each block says how it is checked: `run` as it stands; `dry-run`: with `--dry-run`, as
it takes long; `tests/...`: run by that test, as it needs a cluster, or serves for ever. Blocks of YAML are
always read, those that are parts of a config together with what they are put into.
"""

import re
import runpy
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.config.tune import Study
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.identify import arguments
from reid_ray.on_ray.naming import run_of

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PHOTOS = ("lynx", "zebra", "cows", "other")
"""Folders below /photos of which the README speaks."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, how it is checked, and its text."""

    language: str
    check: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """Its lines, without comments, continued ones joined, each as words."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(text: str) -> list[Block]:
    found = re.findall(r"(?:<!-- checked: (.+?) -->\n)?^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [Block(language, check, inside) for check, language, inside in found]


def marked(check: str) -> list[Block]:
    return [block for block in blocks(README) if block.check == check]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in; /photos stands for its folder `photos`."""
    folder = tmp_path_factory.mktemp("readme")
    synthetic = SyntheticDataset(
        source="synthetic", name="h", species="zebra", identities=4, photos=4, size_px=96
    )
    for name in PHOTOS:
        (folder / "photos").mkdir(exist_ok=True)
        made = make_synthetic(folder / "photos" / "made", synthetic)
        (folder / "photos" / name).symlink_to(made)
    return folder


def run(words: list[str], place: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """`python -m reid_ray...` in this process, with photos that are there; its exit code."""
    module, *rest = words[words.index("-m") + 1 :]
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", [module, *(w.replace("/photos", f"{place}/photos") for w in rest)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    return int(ended.value.code or 0)


def config_of(text: str) -> dict[str, object]:
    """A whole config, or a part of one put into the rest of the README's own."""
    given = yaml.safe_load(text)
    whole = next(b.text for b in blocks(README) if b.text.startswith("# mine.yaml"))
    return {**yaml.safe_load(whole), **given}


def test_every_block_says_how_it_is_checked() -> None:
    shell = [block for block in blocks(README) if block.language == "sh"]
    assert len(shell) > 8
    assert [b.text for b in shell if not b.check] == []
    for check in {b.check for b in shell} - {"run", "dry-run"}:
        for part in check.split(", "):
            path, _, name = part.partition("::")
            assert name in (ROOT / path).read_text(encoding="utf-8"), part
    assert {b.language for b in blocks(README)} == {"sh", "yaml", ""}


@pytest.mark.parametrize(
    "block", [b for b in blocks(README) if b.language == "yaml"], ids=lambda b: b.text.splitlines()[0][:30]
)
def test_every_config_is_one(block: Block) -> None:
    assert Study.parse(config_of(block.text), where="README").trials()


@pytest.mark.parametrize(
    "block", marked("run") + marked("dry-run"), ids=lambda b: b.text.splitlines()[0][:60]
)
def test_every_command_works(
    block: Block, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = next(b.text for b in blocks(README) if b.text.startswith("# mine.yaml"))
    (place / "mine.yaml").write_text(mine.replace("/photos", f"{place}/photos"))
    for words in block.commands:
        if "reid_ray" not in " ".join(words):
            continue  # pip, or what a whole test run is
        dry = ["--dry-run"] if block.check == "dry-run" and "--dry-run" not in words else []
        assert run(words + dry, place, monkeypatch) == 0, words
        assert capsys.readouterr().out.strip()


def test_the_identify_command_is_understood(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the run it asks for; tests/ray/test_identify.py runs such a one."""
    (block,) = [b for b in blocks(README) if "reid_ray.identify --" in b.text]
    (words,) = block.commands
    (place / "runs/mine/selected_trial").mkdir(parents=True)
    (place / "runs/mine/selected_trial/config.json").write_text("{}")
    (place / "photos/new").symlink_to(place / "photos/made")
    monkeypatch.chdir(place)
    given = [word.replace("/photos", f"{place}/photos") for word in words[5:]]
    run = run_of(arguments().parse_args(given))
    assert run.reference.root == f"{place}/photos/lynx"
    assert run.query.root == f"{place}/photos/new"
    assert run.model is not None
    assert run.model.weights == str(place / "runs/mine/selected_trial")

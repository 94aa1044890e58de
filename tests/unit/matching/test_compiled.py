"""Compiled code on disk is not used once a file that it was made of has changed."""

import importlib
import shutil
import sys
from pathlib import Path

import pytest

from reid_ray.matching import compiled

CALLEE = """
from loops.compiled import compiled

@compiled()
def more(value):
    return value + {step}
"""
CALLER = """
from loops.compiled import compiled
from loops.callee import more

@compiled()
def twice(value):
    return more(more(value))
"""


def run(folder: Path, step: int) -> tuple[int, int]:
    """What the caller gives for 10, and how often it was found on disk."""
    (folder / "callee.py").write_text(CALLEE.format(step=step))
    for name in [name for name in sys.modules if name.split(".")[0] == "loops"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    twice = importlib.import_module("loops.caller").twice
    return twice(10), sum(twice.stats.cache_hits.values())


def test_a_change_of_what_is_called_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "loops"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "caller.py").write_text(CALLER)
    shutil.copy(compiled.__file__, folder)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert run(folder, 1) == (12, 0)
    assert run(folder, 1) == (12, 1)
    assert run(folder, 2) == (14, 0)

"""Tell someone what their photos hold and what to do next. In: a path. Out: plain lines, perhaps a config."""

import shutil
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from reid_ray.config.base import read_yaml
from reid_ray.config.datasets import Data
from reid_ray.config.named import results_folder
from reid_ray.datasets.understand import Said, Understood, understand
from reid_ray.errors import ConfigError
from reid_ray.reporting.text import visible
from reid_ray.splits.checkup import Checkup, check_up

_ON_GPU = """\
grid:
  backbones: [efficientnet_b3.ra2_in1k]
  lrs: [0.01]
training: {epochs: 30}
"""
_MATCHED = """\
baselines:
  matching:
    - {name: SIFT%s}
    - {name: LNBNN, extractor: {kind: sift, root: true}, score: lnbnn%s}
"""
_SHORTLIST = ", shortlist: {by: vlad, size: 100}"
MOST_PAIRS = 20_000_000
"""Up to so many, every query is matched with every reference: minutes to an hour of a laptop, about 11 000
photos of one collection. Beyond, time grows with the square."""
_ON_CPU = """\
grid:                                       # what a computer without a GPU carries;
  backbones: [test_resnet.r160_in1k]        # with one: [efficientnet_b3.ra2_in1k]
  lrs: [0.05]                               # [0.01]
  arcface: {margins_rad: [0.1, 0.25], scales: [16.0]}     # leave out, for the paper's margins
  triplet: {minings: [semi, all], margins: [0.2]}         # leave out
training: {epochs: 20, input_px: 96, batch_size: 32, augment: {magnitude: 9}}     # {epochs: 30}
"""
_WIDTH = 110
_EVERY_S = 0.5


def advise(path: str, *, most_photos: int | None, write: str | None, said: Said | None = None) -> int:
    """Print what was understood, what is wrong and what to do; 2 where there is something to mend.

    Args:
        path: a folder, a file that lists photos, or a config (.yaml).
        most_photos: opened at most; None: all.
        write: where a config to start from goes; a file that is there is kept.
        said: what need not be guessed.

    Raises:
        DatasetError: nothing usable there. ConfigError: not a config, or `write` exists.
    """
    is_config = path.endswith((".yaml", ".yml"))
    understood = None if is_config else understand(path, said=said)
    data = _of_config(Path(path).expanduser()) if understood is None else _of(understood)
    found = check_up(
        data, made=results_folder("runs") / "synthetic", most_photos=most_photos, progress=_progress()
    )
    reasons = understood.reasons if understood else []
    found.problems = [*(understood.problems if understood else []), *found.problems]
    print(_text(path, [*reasons, *found.facts], found))
    if understood is not None:
        _next_steps(understood, write, pairs=found.pairs)
    return 2 if found.problems else 0


def _of_config(path: Path) -> Data:
    raw = read_yaml(path)
    if "data" not in raw:
        raise ConfigError(f"{path}: no `data` in it; give a config, or the folder of your photos")
    return Data.parse(raw["data"], where=f"{path}: data")


def _of(understood: Understood) -> Data:
    crop = "bbox" if understood.boxes else "full"
    raw = {
        "datasets": [understood.dataset.model_dump(mode="json")],
        "images": {"crop": crop, "max_bad_share": 1.0},
    }
    return Data.parse(raw, where=understood.dataset.root)


def _text(path: str, facts: list[str], found: Checkup) -> str:
    parts = [path, _listed(facts)]
    if found.problems:
        parts += ["", "To mend", _listed(found.problems)]
    if found.notes:
        parts += ["", "Good to know", _listed(found.notes)]
    if not found.problems:
        parts += ["", "Nothing has to be mended."]
    return "\n".join(parts)


def _listed(sentences: list[str]) -> str:
    return "\n".join(
        textwrap.fill(
            visible(sentence),
            _WIDTH,
            initial_indent="  - ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for sentence in sentences
    )


def _next_steps(understood: Understood, write: str | None, *, pairs: int) -> None:
    text = starter(understood, pairs=pairs)
    if pairs > MOST_PAIRS:
        print(
            f"\nMatching all {pairs:,} pairs would take a method hours to days, so the config matches each\n"
            "query with the 100 references that are most alike as a whole (`shortlist`); the dry run says\n"
            "how long that takes."
        )
    if write is None:
        print("\nA config to start from (--write FILE puts it into a file):\n")
        print(textwrap.indent(text, "  "))
        return
    file = Path(write)
    if file.exists():
        raise ConfigError(f"{file}: is there already; choose another name or delete it")
    file.write_text(text, encoding="utf-8")
    print(f"\nWrote {file}. Next: uv run python -m reid_ray.tune {file} --dry-run")


def starter(understood: Understood, *, pairs: int = 0) -> str:
    """A study of these photos, in YAML: the least that is needed."""
    crop = "  images: {crop: bbox}\n" if understood.boxes else ""
    head = f"name: {understood.dataset.name}\ndata:\n  datasets:\n    - {understood.yaml()}\n{crop}"
    shortlist = _SHORTLIST if pairs > MOST_PAIRS else ""
    return head + (_ON_GPU if shutil.which("nvidia-smi") else _ON_CPU) + _MATCHED % (shortlist, shortlist)


def _progress() -> Callable[[int, int], None]:
    """Photos opened so far, on a terminal alone."""
    shown_at = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal shown_at
        if not sys.stderr.isatty():
            return
        if done == total:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        elif time.monotonic() - shown_at > _EVERY_S:
            shown_at = time.monotonic()
            print(f"\r{done} of {total} photos opened", end="", file=sys.stderr, flush=True)

    return show

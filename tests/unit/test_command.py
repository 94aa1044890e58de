"""Commands answer quickly, in one sentence, with the right exit code."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image


def tune(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reid_ray.tune", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_help_names_every_option(tmp_path: Path) -> None:
    told = tune("--help", cwd=tmp_path)
    assert told.returncode == 0
    for option in ("config", "--set", "--dry-run", "--fresh", "--debug"):
        assert option in told.stdout


def test_help_and_config_errors_load_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['tune', '--set', 'grid.lrs=[x]'];\n"
        "import runpy\n"
        "try: runpy.run_module('reid_ray.tune', run_name='__main__')\n"
        "except SystemExit as end: print(end.code)\n"
        "print(sorted({'torch', 'ray', 'mlflow', 'timm', 'pandas'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert told.stdout.split("\n")[:2] == ["2", "[]"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nothing"], "no config named 'nothing' for tune"),
        (["--set", "training.epoch=3"], "training.epoch: unknown key"),
        (["--set", "training.epochs=0"], "training.epochs: found 0"),
        (["--set", "training.epochs='3'"], 'training.epochs: found "3"'),
        (["--set", "data.unseen=[zebu]"], "unseen names no group of a dataset: ['zebu']"),
    ],
)
def test_a_wrong_setting_is_your_input_told_in_one_line(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    told = tune(*arguments, cwd=tmp_path)
    assert told.returncode == 2
    assert sentence in told.stderr
    assert told.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_papers_dry_run_lists_its_trials_without_a_cluster(tmp_path: Path) -> None:
    seals = tmp_path / "collections" / "SealID"
    seals.mkdir(parents=True)
    rows = [(n, n // 4, f"{n}.jpg", "test" if n % 4 == 0 else "train") for n in range(16)]
    pd.DataFrame(rows, columns=["image_id", "identity", "path", "split"]).to_csv(seals / "metadata.csv")
    for n in range(16):
        (seals / f"{n}.jpg").write_bytes(b"opened only by a run")
    told = tune("paper", "--dry-run", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert told.stdout.count(" is not run: no folder collections/") == 28
    assert "72 trials:" in told.stdout
    # By hand: 12 photos x 100 epochs x 36 settings, each thrice 2 x (15.5 + 1.0) GMAC (timm's table).
    work = re.search(r"86,400 photos passed, ([\d.]+) PFLOP", told.stdout)
    assert work is not None
    assert float(work[1]) == pytest.approx(12 * 100 * 36 * 3 * 2 * 16.5e9 / 1e15, rel=0.1)
    assert sum("photos x 100 epochs" in line for line in told.stdout.splitlines()) == 72
    # Swin-B has 86.7 M parameters without its classifier (timm's table), EfficientNet-B3 10.7 M.
    assert "86.7 M parameters" in told.stdout
    assert "10.7 M parameters" in told.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["collections"]


def test_the_paper_without_any_of_its_collections_says_where_they_belong(tmp_path: Path) -> None:
    told = tune("paper", "--dry-run", cwd=tmp_path)
    assert told.returncode == 2
    assert "none of the 29 collections is here (collections has no folder of theirs)" in told.stderr


def validate(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "reid_ray.validate", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_validate_writes_a_config_that_tune_understands(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for place in range(12):
        path = tmp_path / "lynx" / f"animal {place % 3}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (160, 160, 3), dtype=np.uint8)).save(path)
    told = validate("lynx", "--write", "mine.yaml", cwd=tmp_path)
    assert (told.returncode, told.stderr) == (0, "")
    assert "lynx: 12 photos of 3 animals" in told.stdout
    planned = tune("mine.yaml", "--dry-run", cwd=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "4 trials:" in planned.stdout
    assert validate("mine.yaml", cwd=tmp_path).returncode == 0
    again = validate("lynx", "--write", "mine.yaml", cwd=tmp_path)
    assert again.returncode == 2
    assert "mine.yaml: is there already" in again.stderr
    (tmp_path / "lynx" / "animal 0" / "0.png").write_bytes(b"broken")
    broken = validate("lynx", cwd=tmp_path)
    assert broken.returncode == 2
    assert "To mend" in broken.stdout
    assert "not an image of a known format" in broken.stdout

"""Configs that come along are found, whole and valid; the paper's grid has its 72 points."""

import itertools
from pathlib import Path

import pytest

from reid_ray.config.base import load
from reid_ray.config.match import MatchRun
from reid_ray.config.named import find, results_folder
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("path", sorted((ROOT / "tune_configs" / "tune").glob("*.yaml")), ids=str)
def test_every_study_config_is_valid(path: Path) -> None:
    assert load(Study, path).name == path.stem


@pytest.mark.parametrize("path", sorted((ROOT / "tune_configs" / "match").glob("*.yaml")), ids=str)
def test_every_match_config_is_valid(path: Path) -> None:
    assert load(MatchRun, path).name == f"match-{path.stem.replace('_', '-')}"


def test_the_papers_grid_is_its_72_points() -> None:
    trials = load(Study, find("tune", "paper")).trials()
    found = set()
    for trial in trials:
        loss = trial.loss
        setting = (loss.margin_rad, loss.scale) if loss.name == "arcface" else (loss.mining, loss.margin)
        found.add((trial.backbone.split(".")[0], trial.lr, loss.name, *setting))
    # arXiv 2311.09118, section 4: backbone x learning rate x (ArcFace + Triplet settings).
    both = list(itertools.product(["swin_base_patch4_window7_224", "efficientnet_b3"], [0.01, 0.001]))
    arcface = itertools.product(both, [0.25, 0.5, 0.75], [32, 64, 128])
    triplet = itertools.product(both, ["all", "semi", "hard"], [0.1, 0.2, 0.3])
    expected = {(*pair, "arcface", m, s) for pair, m, s in arcface}
    expected |= {(*pair, "triplet", mining, m) for pair, mining, m in triplet}
    assert len(expected) == len(trials) == 72
    assert found == expected
    assert {(t.epochs, t.batch_size, t.momentum, t.lr_floor, t.input_px) for t in trials} == {
        (100, 128, 0.9, 1e-3, 224)
    }
    assert not any(trial.balanced for trial in trials)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        ConfigError, match=r"no config named 'papre' for tune.*'paper', 'paper_small', 'quickstart'"
    ):
        find("tune", "papre")


def test_a_missing_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such file in"):
        find("tune", str(tmp_path / "none.yaml"))


def test_relative_results_go_below_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert results_folder("runs") == tmp_path / "runs"
    assert results_folder("/elsewhere") == Path("/elsewhere")


def test_results_of_a_submitted_job_outlive_its_copied_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copied.mkdir(parents=True)
    monkeypatch.chdir(copied)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert results_folder("runs") == tmp_path / "home" / "reid_ray" / "runs"

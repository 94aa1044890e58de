"""All weights are looked at before anything starts: what is missing is told, what does not fit is refused."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf

from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError, WeightsError
from reid_ray.studies.dry_run import forecast
from reid_ray.studies.wanted import look_for_weights

SYNTHETIC = {
    "source": "synthetic",
    "name": "zebra",
    "species": "zebra",
    "identities": 3,
    "photos": 4,
    "size_px": 64,
}


def study(storage: Path, **raw: Any) -> Study:
    grid = {"backbones": ["test_resnet", "test_efficientnet_gn"], "lrs": [0.1]}
    base = {"name": "s", "data": {"datasets": [SYNTHETIC]}, "grid": grid, "storage": str(storage)}
    base["training"] = {"weights": "random", "input_px": 64, "epochs": 1, "batch_size": 4}
    return Study.parse(base | raw, where="test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_for_hf(
        timm.create_model("test_efficientnet_gn", num_classes=0), tmp_path / "f", safe_serialization=True
    )
    return tmp_path / "f"


def with_weights(storage: Path, weights: Any) -> Study:
    training = {"weights": weights, "input_px": 64, "epochs": 1, "batch_size": 4}
    return study(storage, training=training)


def test_each_backbone_starts_from_its_own_weights(folder: Path, tmp_path: Path) -> None:
    mine = with_weights(tmp_path, {"test_efficientnet_gn": str(folder), "test_resnet": "random"})
    assert look_for_weights(mine) == {}
    starts = {trial.backbone: trial.weights for trial in mine.trials()}
    assert starts == {"test_efficientnet_gn": str(folder), "test_resnet": "random"}
    left_out = with_weights(tmp_path, {"test_resnet": "random"})
    assert left_out.training.weights_of("test_efficientnet_gn") == "auto"


def test_another_backbones_weights_do_not_change_a_trials_key(tmp_path: Path) -> None:
    one, two = (
        with_weights(tmp_path, {"test_resnet": "random", "test_efficientnet_gn": other})
        for other in ("random", "auto")
    )
    digests = [{t.digest() for t in of.trials() if t.backbone == "test_resnet"} for of in (one, two)]
    assert digests[0] == digests[1]


def test_weights_of_no_backbone_of_the_grid_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.weights names no backbone.*swin"):
        with_weights(tmp_path, {"swin": "random"})


def test_a_training_with_weights_that_do_not_fit_is_refused_in_a_dry_run(
    folder: Path, tmp_path: Path
) -> None:
    mine = with_weights(tmp_path, str(folder))
    with pytest.raises(WeightsError, match=r"training\.weights of test_resnet: .*another architecture"):
        forecast(mine)
    gone = with_weights(tmp_path, {"test_resnet": str(tmp_path / "gone.pth")})
    with pytest.raises(WeightsError, match=r"training\.weights of test_resnet: .*gone\.pth: no such"):
        forecast(gone)


def test_a_dry_run_says_which_methods_cannot_be_run_and_what_gets_their_weights(
    folder: Path, tmp_path: Path
) -> None:
    disk = {"kind": "disk", "weights": str(tmp_path / "disk.pth")}
    matching = [
        {"name": "SIFT"},
        {"name": "DISK", "extractor": disk},
        {"name": "behind", "shortlist": {"by": "wrong"}},
    ]
    pretrained = [{"name": "wrong", "model": "test_resnet", "weights": str(folder)}]
    baselines = {"matching": matching, "pretrained": pretrained}
    mine = study(tmp_path, baselines=baselines, fusion=[{"name": "both", "parts": ["SIFT", "DISK"]}])
    said: list[str] = []
    found = look_for_weights(mine, say=said.append)
    assert list(found) == ["wrong", "DISK", "behind", "both"]
    assert "another architecture than test_resnet" in found["wrong"]
    assert "python -m reid_ray.weights get disk" in found["DISK"]
    assert found["behind"] == "it builds on wrong, which is not run"
    assert found["both"] == "it builds on DISK, which is not run"
    assert said[1].startswith("note: DISK will not be run: ")
    lines = forecast(mine).splitlines()
    assert [line for line in lines if line.startswith("Not run: DISK") and "weights get disk" in line]
    assert [
        line for line in lines if "wrong" in line and "missing" in line and "another architecture" in line
    ]

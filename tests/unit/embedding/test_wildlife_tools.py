"""Losses, gradients and steps are those of wildlife-tools 0.0.9, whose own values lie in tests/golden."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from reid_ray.config.training import ArcFace, Loss, Triplet
from reid_ray.embedding.losses import make_head

GOLDEN = Path(__file__).parents[2] / "golden" / "losses_of_wildlife_tools.py"


def script() -> ModuleType:
    """The script that wrote the values."""
    spec = importlib.util.spec_from_file_location("losses_of_wildlife_tools", GOLDEN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = script()
STORED = json.loads(GOLDEN.with_suffix(".json").read_text(encoding="utf-8"))


def ours(settings: dict[str, Any]) -> Loss:
    if settings["name"] == "triplet":
        return Triplet(**settings)
    # wildlife-tools takes 57.3 degrees for a radian.
    return ArcFace(**settings | {"margin_rad": math.radians(57.3 * settings["margin_rad"])})


def found_by(loss: Loss) -> dict[str, Any]:
    head = make_head(loss, classes=SCRIPT.CLASSES, dims=SCRIPT.DIMS)
    return dict(SCRIPT.follow(head, STORED["inputs"]))


@pytest.mark.parametrize("name", list(STORED["values"]))
def test_loss_gradient_and_three_sgd_steps_are_wildlife_tools(name: str) -> None:
    expected, found = STORED["values"][name], found_by(ours(SCRIPT.cases()[name]))
    start = np.array(STORED["inputs"]["network"])
    assert np.abs(np.array(expected["network"]) - start).max() > 1e-2
    for part in ("losses", "gradient", "network", "centres"):
        np.testing.assert_allclose(found[part], expected[part], rtol=1e-5, atol=1e-7, err_msg=part)


@pytest.mark.parametrize("margin_rad", [0.25, 0.5, 0.75])
def test_an_exact_radian_changes_arcface_by_less_than_5e_5(margin_rad: float) -> None:
    expected = STORED["values"][f"arcface m={margin_rad} s=64.0"]["losses"][0]
    found = found_by(ArcFace(name="arcface", margin_rad=margin_rad, scale=64.0))["losses"][0]
    assert 1e-8 < abs(found - expected) / expected < 5e-5


def test_triplets_distances_are_squared_unless_asked_otherwise() -> None:
    default = Triplet(name="triplet", mining="all", margin=0.2)
    assert found_by(default)["losses"] == pytest.approx(
        STORED["values"]["triplet all m=0.2 l2_squared"]["losses"], rel=1e-9
    )
    assert default.digest() != default.model_copy(update={"distance": "l2"}).digest()

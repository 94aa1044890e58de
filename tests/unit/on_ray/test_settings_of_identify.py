"""One setting of a method that is named in short can be set, the others stay."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_ray.config.identify import LOCAL
from reid_ray.errors import ConfigError
from reid_ray.identify import arguments
from reid_ray.methods.fusion import Fusing
from reid_ray.on_ray.identify import method_of
from reid_ray.on_ray.naming import run_of


def photos(folder: Path) -> list[str]:
    """Arguments that name two known animals and a new photo, which are made."""
    for name in ("known/leo", "known/lea", "new"):
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "1.png"), np.full((64, 64, 3), 9, np.uint8))
    return ["--reference", str(folder / "known"), "--query", str(folder / "new")]


def test_a_rule_of_candidates_is_set_beside_the_defaults(tmp_path: Path) -> None:
    given = [*photos(tmp_path), "--local", "lnbnn"]
    found = run_of(arguments().parse_args([*given, "--set", "local.location=only"])).matchings()
    assert found == (LOCAL["lnbnn"].model_copy(update={"location": "only"}),)
    assert run_of(arguments().parse_args(given)).local == "lnbnn"
    config = tmp_path / "whole.yaml"
    config.write_text("local: {score: lnbnn, period: prefer}")
    (whole,) = run_of(
        arguments().parse_args([str(config), *given[:4], "--set", "local.location=only"])
    ).matchings()
    assert whole.rules == {"location": "only", "date": "prefer"}


def test_several_local_features_are_joined(tmp_path: Path) -> None:
    given = [*photos(tmp_path), "--local", "lnbnn"]
    method = method_of(run_of(arguments().parse_args([*given, "--local", "disk"])))
    assert isinstance(method, Fusing)
    assert [part.name for part in method.parts] == ["LNBNN", "DISK"]
    assert method.config.combine == "log_odds"
    with pytest.raises(ConfigError, match="named 'LNBNN'"):
        run_of(arguments().parse_args([*given, "--local", "lnbnn"]))
    config = tmp_path / "listed.yaml"
    config.write_text("local: [sift, {score: lnbnn, shortlist: {by: sift, size: 2}, name: few}]")
    with pytest.raises(ConfigError, match="one kind of local features"):
        run_of(arguments().parse_args([str(config), *given[:4]]))


def test_the_expected_share_of_unknown_animals_is_an_option(tmp_path: Path) -> None:
    given = photos(tmp_path)
    assert run_of(arguments().parse_args(given)).unknown_share == 0.2
    assert run_of(arguments().parse_args([*given, "--unknown-share", "0.46"])).unknown_share == 0.46
    with pytest.raises(ConfigError, match="unknown_share"):
        run_of(arguments().parse_args([*given, "--unknown-share", "46"]))

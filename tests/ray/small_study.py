"""A study of a minute, for the tests of this folder."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from reid_ray.config.tune import Study
from reid_ray.on_ray.study import Outcome, run_study
from reid_ray.progress import Display
from reid_ray.runs.methods import MethodFolder


def study_of(folder: Path, **changes: Any) -> Study:
    synthetic = {"source": "synthetic", "identities": 4, "photos": 6, "size_px": 64}
    raw = {
        "name": "small",
        "data": {
            "datasets": [
                {**synthetic, "name": "zebra", "species": "zebra"},
                {**synthetic, "name": "giraffe", "species": "giraffe"},
            ],
            "unseen": ["giraffe"],
            "images": {"short_px": 64},
        },
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.05],
            "arcface": {"margins_rad": [0.25], "scales": [16.0]},
            "triplet": {"minings": ["all"], "margins": [0.2]},
        },
        "training": {"weights": "random", "input_px": 64, "epochs": 2, "batch_size": 16},
        "baselines": {
            "matching": [
                {"name": "SIFT"},
                {"name": "SIFT-few", "shortlist": {"by": "selected_trial", "size": 3}},
            ]
        },
        "fusion": [{"parts": ["SIFT", "selected_trial"]}],
        "storage": str(folder / "runs"),
        "reports": str(folder / "reports"),
    }
    return Study.parse(raw | changes, where="test")


def run(study: Study) -> tuple[Outcome, str]:
    told = io.StringIO()
    outcome = run_study(study, display=Display(Console(file=told, width=200)))
    return outcome, told.getvalue()


@dataclass(frozen=True)
class Done:
    study: Study
    outcome: Outcome
    folder: Path


def times(folder: MethodFolder) -> int:
    return (folder.path / "result.json").stat().st_mtime_ns

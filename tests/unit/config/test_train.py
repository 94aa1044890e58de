"""A training is a study of one trial."""

import pytest

from reid_ray.config.base import load
from reid_ray.config.named import find
from reid_ray.config.train import TrainRun

ARCFACE = {"name": "arcface", "margin_rad": 0.4, "scale": 20.0}
TRIPLET = {"name": "triplet", "mining": "hard", "margin": 0.15}


@pytest.mark.parametrize("loss", [ARCFACE, TRIPLET])
def test_the_study_has_exactly_the_trial_of_the_config(loss: dict[str, object]) -> None:
    config = TrainRun.parse(
        {
            "name": "one",
            "data": {"datasets": [{"source": "synthetic", "name": "zebra", "species": "zebra"}]},
            "trial": {
                "backbone": "test_resnet",
                "loss": loss,
                "lr": 0.03,
                "epochs": 7,
                "select": "best",
                "augment": {"ops": 1},
            },
        },
        where="test",
    )
    study = config.study()
    assert study.trials() == [config.trial]
    assert study.baselines.matching == ()
    assert study.scaling.confirmation_workers == 0


@pytest.mark.parametrize("name", ["quickstart", "megadescriptor"])
def test_the_configs_that_come_along_are_valid(name: str) -> None:
    assert len(load(TrainRun, find("train", name)).study().trials()) == 1

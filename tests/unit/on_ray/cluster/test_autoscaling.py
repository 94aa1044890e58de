"""An autoscaling cluster is asked in shares of one worker, waited for, and let go again."""

from typing import Any

import pytest

from reid_ray.config.tune import Scaling
from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster import autoscaling as growth


class Autoscaler:
    """Takes requests; each look at it shows the next of `sizes`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sizes: list[dict[str, float]]) -> None:
        self.asked: list[list[dict[str, float]]] = []
        self.sizes = sizes
        monkeypatch.setattr(growth, "request_resources", self.request)
        monkeypatch.setattr(growth.ray, "cluster_resources", self.look)
        monkeypatch.setattr(growth, "LOOK_EVERY_S", 0.0)

    def request(self, *, bundles: list[dict[str, float]]) -> None:
        self.asked.append(bundles)

    def look(self) -> dict[str, float]:
        return self.sizes.pop(0) if len(self.sizes) > 1 else self.sizes[0]


def test_work_starts_when_one_trial_fits_and_the_request_stands_until_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[dict[str, Any]] = [{}, {"CPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}]
    there = Autoscaler(monkeypatch, sizes)
    with growth.grown(Scaling(ask_gpus=3, ask_cpus=20, cpus_per_worker=8)):
        assert there.asked == [[{"GPU": 1.0}] * 3 + [{"CPU": 8.0}] * 3]
        assert len(sizes) == 1
    assert there.asked[1:] == [[]]


def test_machines_that_do_not_come_are_an_error_and_no_longer_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = Autoscaler(monkeypatch, [{"CPU": 3.0}])
    scaling = Scaling(ask_gpus=2, ask_cpus=4, workers=2, cpus_per_worker=2, wait_s=0.05)
    with (
        pytest.raises(ResourceError, match=r"after 0\.05 s it has 3 and 0, and one trial takes 4 and 2;"),
        growth.grown(scaling),
    ):
        raise AssertionError("work must not start")
    assert there.asked[-1] == []

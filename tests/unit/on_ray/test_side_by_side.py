"""What runs beside trainings stays off their nodes' CPUs, and neither is left behind by the other."""

import threading
from dataclasses import replace

import pytest

from reid_ray.config.tune import Scaling
from reid_ray.errors import TrialError
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.cluster.shares import Share, left_over
from reid_ray.on_ray.side_by_side import beside, nodes_beside

TWO = (Share("10.0.0.1", 8, 2, "cards"), Share("10.0.0.2", 4, 0, "plain"))


@pytest.mark.parametrize(
    ("cpus", "gpus", "expected"),
    [
        # Two trainings of 3 CPUs leave 2 of 8; the other node has none, so all 4.
        (3, 1, ["cards"] * 2 + ["plain"] * 4),
        # Half a card each: four trainings, of which 8 CPUs hold two of 3 CPUs.
        (3, 0.5, ["cards"] * 2 + ["plain"] * 4),
        (1, 0.5, ["cards"] * 4 + ["plain"] * 4),
        (4, 1, ["plain"] * 4),
    ],
)
def test_cpus_are_counted_that_trainings_on_all_cards_leave(cpus, gpus, expected) -> None:
    assert left_over(TWO, cpus=cpus, gpus=gpus) == expected


def test_trainings_on_cpus_leave_nothing() -> None:
    on_gpus = Cluster(cpus=12, gpus=2, nodes=2, embedded=False, shares=TWO)
    assert len(nodes_beside(Scaling(cpus_per_worker=3), on_gpus)) == 6
    assert nodes_beside(Scaling(cpus_per_worker=3, gpus_per_worker=0), on_gpus) == []
    assert nodes_beside(Scaling(cpus_per_worker=3), replace(on_gpus, gpus=0)) == []
    assert nodes_beside(Scaling(cpus_per_worker=3), replace(on_gpus, shares=())) == []  # more are to come


class Work:
    """Goes on until it is told, and knows what it was told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told: list[str] = []
        self.error, self._end = error, threading.Event()

    def __call__(self) -> None:
        assert self._end.wait(60)
        self.told.append("ended")
        if self.error:
            raise self.error

    def alone(self) -> None:
        self.told.append("alone")
        self._end.set()

    def stop(self) -> None:
        self.told.append("stopped")
        self._end.set()


def test_work_that_takes_longer_gets_all_and_is_waited_for() -> None:
    work = Work()
    with beside(work, alone=work.alone, stop=work.stop):
        assert work.told == []
    assert work.told == ["alone", "ended"]


def test_work_that_ended_before_is_told_nothing() -> None:
    told: list[str] = []
    done = threading.Event()
    with beside(done.set, alone=lambda: told.append("alone"), stop=lambda: told.append("stopped")):
        assert done.wait(60)
        for thread in threading.enumerate():
            if thread.name == "beside trainings":
                thread.join(60)
    assert told == []


def test_an_error_of_the_work_is_raised_after_the_block_has_ended() -> None:
    work, ended = Work(TrialError("of the work")), False
    with pytest.raises(TrialError, match="of the work"), beside(work, alone=work.alone, stop=work.stop):
        ended = True
    assert ended


@pytest.mark.parametrize("error", [TrialError("of the block"), KeyboardInterrupt()])
def test_where_the_block_fails_the_work_is_stopped(error: BaseException) -> None:
    work = Work(TrialError("of the work"))
    with pytest.raises(type(error)), beside(work, alone=work.alone, stop=work.stop):
        raise error
    assert work.told == ["stopped", "ended"]

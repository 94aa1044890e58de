"""A pool whose workers the memory monitor ends goes on with fewer, and in the end says what to lower."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError

from reid_ray.errors import ReidError, TrialError
from reid_ray.on_ray.actors import pool as pools
from reid_ray.on_ray.actors.pool import Pool

DUMP = (
    "Task was killed due to the node running low on memory.\nTop 10 processes: 3141 alice --password hunter2"
)


class Method:
    def __init__(self, cluster: "Cluster", starts: bool = False) -> None:
        self.cluster, self.starts = cluster, starts

    def remote(self, *given: Any) -> object:
        ref = object()
        self.cluster.calls[ref] = self.starts
        return ref


class Actor:
    def __init__(self, cluster: "Cluster") -> None:
        self.ready, self.run = Method(cluster, starts=True), Method(cluster)


@dataclass
class Cluster:
    """Stands for Ray: so many calls at a time fit its memory, and one more ends the one that is asked for."""

    fits: int
    calls: dict[object, bool] = field(default_factory=dict)
    most: int = 0

    def wait(self, refs: list[object], **_: Any) -> tuple[list[object], list[object]]:
        self.most = max(self.most, sum(not self.calls[ref] for ref in refs))
        starts = [ref for ref in refs if self.calls[ref]]
        return (starts or refs)[:1], []

    def get(self, ref: object) -> Any:
        at_work = sum(not starts for starts in self.calls.values())
        starts = self.calls.pop(ref)
        if not starts and at_work > self.fits:
            raise OutOfMemoryError(DUMP)
        return "done"

    def kill(self, actor: Actor) -> None:
        pass


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    stand_in = Cluster(fits=2)
    monkeypatch.setattr(pools, "ray", stand_in)
    return stand_in


def pool_of(cluster: Cluster) -> Pool:
    return Pool(8, lambda: Actor(cluster), kind="matching", setting="scaling.matching_actors")


def test_all_is_done_by_fewer_workers_once_memory_ran_out(cluster: Cluster) -> None:
    requests: Any = {str(number): None for number in range(40)}
    pool = pool_of(cluster)
    found = list(pool.run(requests))
    assert sorted(name for name, _ in found) == sorted(requests)
    assert cluster.most > cluster.fits
    # Two workers at most, or one with a call that waits.
    assert len(pool.workers) <= 2


def test_what_never_fits_is_told_with_what_to_lower_and_without_rays_dump(cluster: Cluster) -> None:
    cluster.fits = 0
    with pytest.raises(ReidError) as told:
        list(pool_of(cluster).run({"a": None}))  # type: ignore[dict-item]
    assert "memory ran out 5 times" in str(told.value)
    assert "lower data.images.short_px" in str(told.value)
    assert "hunter2" not in str(told.value)
    assert "\n" not in str(told.value)


def test_workers_stay_on_their_nodes_also_those_that_replace_others(cluster: Cluster) -> None:
    there: list[str] = []

    def start(node: str = "anywhere") -> Actor:
        there.append(node)
        return Actor(cluster)

    cluster.fits = 100
    pool = Pool(8, start, kind="matching", setting="scaling.matching_actors", nodes=["a", "a", "b"])
    running = pool.run({str(number): None for number in range(40)})  # type: ignore[misc]
    next(running)
    assert sorted(there) == ["a", "a", "b"]
    assert [worker.node for worker in pool.workers] == there
    lost = next(worker for worker in pool.workers if worker.node == "b")
    lost.lost = True
    pool.workers.remove(lost)
    next(running)
    assert there[3:] == ["b"]
    pool.grow(5)
    next(running)
    assert there[4:] == ["anywhere", "anywhere"]


def test_a_pool_that_is_stopped_gives_up(cluster: Cluster) -> None:
    pool = pool_of(cluster)
    running = pool.run({str(number): None for number in range(40)})  # type: ignore[misc]
    next(running)
    pool.stop()
    with pytest.raises(TrialError, match="stopped"):
        list(running)
    assert pool.workers == []

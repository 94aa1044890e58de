"""What can never be placed is refused, in place of waiting for ever."""

from dataclasses import replace

import pytest

from reid_ray.config.tune import Scaling
from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.cluster.shares import Share
from reid_ray.on_ray.training.placement import check_fits
from reid_ray.on_ray.training.tuning import concurrent_trials, gpus_per_worker


def cluster(cpus: int, gpus: int) -> Cluster:
    return Cluster(cpus=cpus, gpus=gpus, nodes=1, embedded=True)


def check(scaling: Scaling, workers: int, there: Cluster) -> None:
    each = gpus_per_worker(scaling, there)
    check_fits(scaling, workers=workers, gpus_per_worker=each, cluster=there)


def test_two_workers_do_not_fit_on_one_gpu_that_each_takes_whole_by_default() -> None:
    with pytest.raises(ResourceError, match=r"one trial needs 2 GPUs .2 worker.s. x 1., the .* has 1"):
        check(Scaling(), 2, cluster(16, 1))
    check(Scaling(), 2, cluster(16, 2))


def test_two_workers_of_one_training_may_not_share_a_card() -> None:
    with pytest.raises(ResourceError, match=r"0\.5 GPU each could share a card, which NCCL refuses"):
        check(Scaling(gpus_per_worker=0.5), 2, cluster(16, 1))
    check(Scaling(gpus_per_worker=0.5), 1, cluster(16, 1))  # trials side by side may
    check(Scaling(gpus_per_worker=0), 2, cluster(16, 1))


def test_a_worker_must_fit_on_one_node_and_the_closest_is_named() -> None:
    two = replace(cluster(4, 0), shares=(Share("10.0.0.1", 2, 0), Share("10.0.0.2", 2, 0)))
    with pytest.raises(ResourceError, match=r"closest, 10\.0\.0\.1, has 2 CPUs and 0 GPUs"):
        check(Scaling(cpus_per_worker=3), 0, two)
    check(Scaling(cpus_per_worker=2), 2, two)
    apart = replace(cluster(20, 1), shares=(Share("10.0.0.1", 16, 0), Share("10.0.0.2", 4, 1)))
    with pytest.raises(ResourceError, match=r"closest, 10\.0\.0\.2, has 4 CPUs and 1 GPUs"):
        check(Scaling(cpus_per_worker=8), 0, apart)
    check(Scaling(cpus_per_worker=4), 0, apart)


def test_trials_side_by_side_are_counted_node_by_node() -> None:
    two = replace(cluster(6, 0), shares=(Share("a", 3, 0), Share("b", 3, 0)))
    assert concurrent_trials(Scaling(cpus_per_worker=2), two, 0.0) == 2  # 3 by the sum
    cards = replace(cluster(16, 3), shares=(Share("a", 8, 2), Share("b", 8, 1)))
    assert concurrent_trials(Scaling(gpus_per_worker=0.4), cards, 0.4) == 6  # two a card


def test_more_cpus_than_there_are_is_refused() -> None:
    with pytest.raises(ResourceError, match="one trial needs 3 CPUs"):
        check(Scaling(), 3, cluster(2, 0))
    check(Scaling(), 2, cluster(2, 0))


@pytest.mark.parametrize(
    ("scaling", "there", "expected"),
    [
        (Scaling(), cluster(2, 0), 2),  # one CPU each
        (Scaling(workers=2), cluster(2, 0), 1),
        (Scaling(), cluster(64, 4), 4),  # one GPU each
        (Scaling(gpus_per_worker=0.25), cluster(64, 4), 16),
        (Scaling(workers=2), cluster(64, 8), 4),
        (Scaling(max_concurrent=3), cluster(64, 8), 3),
    ],
)
def test_as_many_trials_run_side_by_side_as_fit(scaling: Scaling, there: Cluster, expected: int) -> None:
    assert concurrent_trials(scaling, there, gpus_per_worker(scaling, there)) == expected


@pytest.mark.parametrize(("host_gib", "expected"), [(4, 2), (11, 1), (30, 1), (0, 2)])
def test_trials_on_cpus_do_not_fill_the_memory(host_gib: int, expected: int) -> None:
    there = replace(cluster(2, 0), memory=16 << 30)
    assert concurrent_trials(Scaling(), there, 0.0, host_bytes=host_gib << 30) == expected

"""What can never be placed is refused, in place of waiting for ever."""

from dataclasses import replace

import pytest

from reid_ray.config.tune import Scaling
from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.training.placement import check_fits
from reid_ray.on_ray.training.tuning import concurrent_trials, gpus_per_worker


def cluster(cpus: int, gpus: int) -> Cluster:
    return Cluster(cpus=cpus, gpus=gpus, nodes=1, embedded=True)


def check(scaling: Scaling, workers: int, there: Cluster) -> None:
    each = gpus_per_worker(scaling, there)
    check_fits(scaling, workers=workers, gpus_per_worker=each, cpus=there.cpus, gpus=there.gpus)


def test_two_workers_do_not_fit_on_one_gpu_that_each_takes_whole_by_default() -> None:
    with pytest.raises(ResourceError, match=r"one trial needs 2 GPUs .2 worker.s. x 1., the .* has 1"):
        check(Scaling(), 2, cluster(16, 1))
    check(Scaling(gpus_per_worker=0.5), 2, cluster(16, 1))
    check(Scaling(), 2, cluster(16, 2))


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

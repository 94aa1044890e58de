"""Ask an autoscaling cluster for machines, and give them back. In: what a study may use. Out: a wait."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.autoscaler.sdk import request_resources

from reid_ray.config.tune import Scaling
from reid_ray.errors import ResourceError

LOOK_EVERY_S = 1.0


@contextmanager
def grown(scaling: Scaling) -> Iterator[None]:
    """Inside, the cluster has room for at least one trial and keeps growing to what was asked for.

    Raises:
        ResourceError: there is no room within `scaling.wait_s`.
    """
    request_resources(bundles=bundles_of(scaling))
    try:
        _wait(scaling)
        yield
    finally:
        request_resources(bundles=[])


def bundles_of(scaling: Scaling) -> list[dict[str, float]]:
    """What is asked for, in shares of one worker, so that they fit the machines that workers fit."""
    each = scaling.cpus_per_worker
    gpus: list[dict[str, float]] = [{"GPU": 1.0}] * scaling.ask_gpus
    return gpus + [{"CPU": float(each)}] * -(-scaling.ask_cpus // each)


def _wait(scaling: Scaling) -> None:
    workers = max(1, scaling.workers)
    share = 1.0 if scaling.gpus_per_worker is None else scaling.gpus_per_worker
    needed = {"CPU": float(workers * scaling.cpus_per_worker)}
    needed["GPU"] = workers * share if scaling.ask_gpus else 0.0
    ends = time.monotonic() + scaling.wait_s
    while True:
        there = ray.cluster_resources()
        if all(there.get(name, 0.0) >= least for name, least in needed.items()):
            return
        if time.monotonic() > ends:
            raise ResourceError(
                f"the cluster was asked for {scaling.ask_cpus} CPUs and {scaling.ask_gpus} GPUs; after "
                f"{scaling.wait_s:g} s it has {there.get('CPU', 0):g} and {there.get('GPU', 0):g}, and one "
                f"trial takes {needed['CPU']:g} and {needed['GPU']:g}; look at `ray status`, or raise "
                "scaling.wait_s"
            )
        time.sleep(LOOK_EVERY_S)

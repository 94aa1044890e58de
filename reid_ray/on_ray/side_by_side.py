"""CPU work beside trainings on GPUs, so that neither waits for the other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from reid_ray.config.tune import Scaling
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.cluster.shares import left_over
from reid_ray.on_ray.training.tuning import gpus_per_worker

_LOOK_EVERY_S = 0.2
_STOP_WITHIN_S = 5.0


def nodes_beside(scaling: Scaling, cluster: Cluster) -> list[str]:
    """Ids of nodes, each as often as it has a CPU that trainings leave; [] where these take CPUs alone.

    Workers stay on these nodes: one on a CPU that a training needs would keep a GPU idle.
    """
    gpus = gpus_per_worker(scaling, cluster)
    return left_over(cluster.shares, cpus=scaling.cpus_per_worker, gpus=gpus) if gpus else []


@contextmanager
def beside(
    work: Callable[[], None], *, alone: Callable[[], None], stop: Callable[[], None]
) -> Iterator[None]:
    """Do `work` in a thread while the block runs, and end when both have; what it raised is raised then.

    Args:
        alone: called when the block has ended and `work` has not; all that the block held is free.
        stop: makes `work` give up; called where the block fails, or Ctrl-C comes.
    """
    failed: list[BaseException] = []

    def attempt() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=attempt, name="beside trainings", daemon=True)
    thread.start()
    try:
        yield
        if thread.is_alive():
            alone()
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)  # in steps, so that Ctrl-C is heeded
    except BaseException:
        stop()
        thread.join(_STOP_WITHIN_S)
        raise
    if failed:
        raise failed[0]

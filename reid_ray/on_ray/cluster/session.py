"""Join the cluster that is there, or start one on this machine and end it again."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

from reid_ray.config.tune import Scaling
from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster.private import guard_token_file, private_ray
from reid_ray.on_ray.cluster.probe import refuse_dead
from reid_ray.on_ray.cluster.shares import Share, shares_of_nodes
from reid_ray.stopping import heed_sigterm

_QUIET_ENVIRONMENT = {
    # Train's watcher for spot preemption polls a metadata server that a laptop does not have.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    # Train takes one report per interval; its default of 2 s would make short epochs wait.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune would take Ctrl-C for the end of its trials, and the study would go on without them.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
}
_CHATTY = (
    "ray.data",
    "ray.tune",
    "ray.train",
    "ray._private.worker",
    "ray.train.v2._internal.execution.context",
)


@dataclass(frozen=True)
class Cluster:
    """What there is to work with.

    Attributes:
        cpus, gpus: of all nodes, or what an autoscaling cluster was asked to grow to.
        nodes: how many are alive.
        embedded: started here and ended with the command.
        memory: bytes that processes may use, of all nodes; 0 where it is not known.
        shares: what each node has; empty where more nodes are to come.
    """

    cpus: int
    gpus: int
    nodes: int
    embedded: bool
    memory: int = 0
    shares: tuple[Share, ...] = ()

    def __str__(self) -> str:
        kind = "this machine" if self.embedded else f"cluster of {self.nodes} node(s)"
        return f"{kind}: {self.cpus} CPUs, {self.gpus} GPUs"


@contextmanager
def cluster(scaling: Scaling | None = None) -> Iterator[Cluster]:
    """A running Ray.

    Where RAY_ADDRESS is set (a submitted job sets it), that cluster is joined; else a Ray of our own is
    started. A bare `ray.init()` would join any cluster it finds, also a stranger's.

    Args:
        scaling: may ask an autoscaling cluster to grow; what it asks for is given back at the end.

    Raises:
        ResourceError: no cluster answers at RAY_ADDRESS, or what was asked for did not come.
    """
    for name, value in _QUIET_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    from reid_ray.on_ray.cluster.autoscaling import grown

    ending = ExitStack()
    running, joined = ray.is_initialized(), "RAY_ADDRESS" in os.environ
    _quiet()
    guard_token_file()
    if running:
        pass  # several studies of one process share a Ray
    elif joined:
        _join()
    else:
        ending.enter_context(private_ray())
    heed_sigterm()  # Ray's own handler prints native stacks
    asked = scaling if joined and scaling is not None else Scaling()
    try:
        with grown(asked) if asked.ask_cpus or asked.ask_gpus else nullcontext():
            resources = ray.cluster_resources()
            cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
            more_to_come = cpus < asked.ask_cpus or gpus < asked.ask_gpus
            yield Cluster(
                cpus=max(cpus, asked.ask_cpus),
                gpus=max(gpus, asked.ask_gpus),
                nodes=sum(node["Alive"] for node in ray.nodes()),
                embedded=not joined,
                memory=0 if more_to_come else int(resources.get("memory", 0)),
                shares=() if more_to_come else shares_of_nodes(),
            )
    finally:
        if not running:
            ray.shutdown()
        ending.close()


def _join() -> None:
    """The cluster at RAY_ADDRESS.

    Raises:
        ResourceError: none answers there.
    """
    import ray

    address = os.environ["RAY_ADDRESS"]
    refuse_dead(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise ResourceError(
            f"RAY_ADDRESS is {address}, and no cluster is there ({str(error).splitlines()[0]}); start it, or "
            "unset RAY_ADDRESS to use this machine alone"
        ) from error


def _quiet() -> None:
    """Our own progress display replaces the libraries' chatter; their errors stay."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)
    from ray.data import DataContext

    DataContext.get_current().enable_progress_bars = False
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)

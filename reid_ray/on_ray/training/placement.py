"""Place one training on the cluster: inside the calling process, or as Ray Train DDP on several workers."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import TorchTrainer

from reid_ray.config.tune import Scaling
from reid_ray.datasets.prepared import Materials
from reid_ray.embedding.context import Worker
from reid_ray.errors import ResourceError, TrialError
from reid_ray.on_ray.cluster.device import own_device
from reid_ray.on_ray.cluster.network import NodeAddresses
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.cluster.shares import closest
from reid_ray.runs.methods import MethodFolder
from reid_ray.studies.trial import Plan, run

PROCESS_GROUP_TIMEOUT_S = 300
HOLDER_CPUS = 0.01
"""Of a Tune trial that only holds Ray Train workers; Ray refuses 0."""


def train_here(
    plan: Plan, materials: Materials, folder: MethodFolder, report: Callable[[dict[str, float]], None]
) -> None:
    """Train in this process, on the GPU that Ray gave it if it gave one; without CUDA, no retry mends it."""
    try:
        device = own_device()
    except ResourceError as error:
        folder.finish(plan.empty_result().but(status="failed", note=str(error)))
        return
    run(plan, materials, Worker(device=device, cpus=torch.get_num_threads()), folder, report)


def train_distributed(
    plan: Plan,
    materials: ray.ObjectRef,
    folder: MethodFolder,
    *,
    workers: int,
    scaling: Scaling,
    gpus_per_worker: float,
    storage: str,
    callbacks: list[Any],
) -> None:
    """Train under DDP on `workers` Ray Train workers, on any nodes.

    A lost worker is replaced and training goes on from the method's own checkpoint.

    Raises:
        TrialError: workers were lost more often than is retried.
    """
    if not folder.done():
        folder.forget()  # workers take a result for one of this start
    # The trial that holds these workers has a share of a CPU itself, which they leave to it.
    resources = {"CPU": scaling.cpus_per_worker - HOLDER_CPUS}
    if gpus_per_worker:
        resources["GPU"] = gpus_per_worker
    trainer = _Trainer(
        _worker,
        train_loop_config={
            "plan": plan,
            "materials": materials,
            "folder": str(folder.path),
            "cpus": scaling.cpus_per_worker,
        },
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers, use_gpu=gpus_per_worker > 0, resources_per_worker=resources
        ),
        torch_config=NodeAddresses(timeout_s=PROCESS_GROUP_TIMEOUT_S),
        run_config=ray.train.RunConfig(
            # Train resumes silently whenever a name comes again, from what a killed start may have half
            # written. Our own checkpoint is what training goes on from, so no name comes again.
            name=f"{plan.key}-{time.time_ns():x}",
            storage_path=storage,
            failure_config=ray.train.FailureConfig(max_failures=3, controller_failure_limit=3),
            callbacks=callbacks,
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise TrialError(f"{plan.trial.label}: {str(error).splitlines()[0]}") from error


class _Trainer(TorchTrainer):  # type: ignore[misc]
    """Leaves Ctrl-C alone: Ray's would end this training in silence, and the study would go on."""

    def _register_sigint_handler(self, controller: Any) -> None:
        return


def _worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    folder = MethodFolder(Path(config["folder"]))
    if folder.finished():  # by a worker of an earlier try, which its error then ended
        return
    materials = ray.get(config["materials"])
    torch.set_num_threads(config["cpus"])
    own_device()  # says so where there is no CUDA for the GPU that Ray gave
    worker = Worker.of_process_group(ray.train.torch.get_device(), cpus=config["cpus"])
    run(config["plan"], materials, worker, folder, ray.train.report)


def check_fits(scaling: Scaling, *, workers: int, gpus_per_worker: float, cluster: Cluster) -> None:
    """Refuse a trial that the cluster could never place; Ray would wait for ever, without a word.

    Args:
        workers: of DDP; 0 or 1: one process.
        gpus_per_worker: what each worker will really ask for, also where the config leaves it open.

    Raises:
        ResourceError: says what one trial needs and what there is.
    """
    count, cpus = max(1, workers), scaling.cpus_per_worker
    if count > 1 and 0 < gpus_per_worker < 1:
        raise ResourceError(
            f"{count} workers of one training with {gpus_per_worker:g} GPU each could share a card, which "
            "NCCL refuses; set scaling.gpus_per_worker to 1, or to 0 to train on CPUs"
        )
    for kind, each, there in (("CPU", cpus, cluster.cpus), ("GPU", gpus_per_worker, cluster.gpus)):
        if count * each > there:
            raise ResourceError(
                f"one trial needs {count * each:g} {kind}s ({count} worker(s) x {each:g}), the cluster has "
                f"{there}; lower its number of workers or scaling.{kind.lower()}s_per_worker"
            )
    if not cluster.shares:
        return
    slots = sum(share.slots(cpus=cpus, gpus=gpus_per_worker) for share in cluster.shares)
    if slots < count:
        near = closest(cluster.shares, cpus=cpus, gpus=gpus_per_worker)
        raise ResourceError(
            f"a worker needs {cpus} CPUs and {gpus_per_worker:g} GPUs on one node, and the "
            f"{len(cluster.shares)} node(s) hold {slots} of the {count} worker(s) of a trial; the closest, "
            f"{near.address}, has {near.cpus:g} CPUs and {near.gpus:g} GPUs; lower scaling.cpus_per_worker "
            "or the number of workers"
        )

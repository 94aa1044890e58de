"""The device of a Ray process: the GPU that Ray gave it, if torch finds it."""

import ray
import torch

from reid_ray.errors import ResourceError


def own_device() -> torch.device:
    """The device of this Ray process: the GPU that it was given, or the CPU where it was given none.

    Raises:
        ResourceError: it was given a GPU that torch does not find.
    """
    if not (given := ray.get_gpu_ids()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ResourceError(
            f"node {ray.util.get_node_ip_address()}: Ray gave GPU {', '.join(map(str, given))} to a process, "
            f"and torch {torch.__version__} finds no CUDA there; install a torch built for CUDA and a driver "
            "that fits it, or set scaling.gpus_per_worker: 0 to use CPUs"
        )
    return torch.device("cuda")

"""What a training's machine is doing, for the curves beside the loss."""

import psutil
import torch

_MB = 1_000_000


def used(device: torch.device) -> dict[str, float]:
    """How busy the machine was since the last call, in percent of all cores, its memory in use, and the most
    of the card's that this process held, in MB.
    """
    found = {"cpu_percent": psutil.cpu_percent(), "memory_mb": psutil.virtual_memory().used / _MB}
    if device.type == "cuda":
        found["gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / _MB
    return found

"""Gradients of one batch on any number of processes, for the tests that compare them."""

import os
import socket
from itertools import product
from pathlib import Path

import timm
import torch
import torch.distributed as dist
from tiny_training import trial
from torch import Tensor
from torch.multiprocessing import spawn
from torch.nn.parallel import DistributedDataParallel

from reid_ray.config.training import ArcFace, Loss, Trial, Triplet
from reid_ray.embedding.backbones import Backbone
from reid_ray.embedding.context import Worker
from reid_ray.embedding.model import ReidModel
from reid_ray.embedding.step import backward

Gradients = dict[str, Tensor]

LOSSES: dict[str, Loss] = {
    "arcface": ArcFace(name="arcface", margin_rad=0.5, scale=32.0),
    "all": Triplet(name="triplet", mining="all", margin=0.2),
    "semi": Triplet(name="triplet", mining="semi", margin=0.2),
    "hard": Triplet(name="triplet", mining="hard", margin=0.2),
}
DTYPES = {"fp32": torch.float32, "fp64": torch.float64}
CASES = [(loss, dtype, accumulation) for loss, dtype, accumulation in product(LOSSES, DTYPES, (1, 2))]
BATCH = 16


def model(setting: Trial, dtype: str, *, drop_path: float = 0.0) -> ReidModel:
    """A network without BatchNorm, the same in every process."""
    torch.manual_seed(0)
    module = timm.create_model("test_convnext2", num_classes=0, drop_path_rate=drop_path)
    backbone = Backbone(module, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "random")
    return ReidModel(setting, backbone, classes=4).to(DTYPES[dtype]).train()


def batch() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    photos = torch.randint(0, 256, (BATCH, 3, 32, 32), generator=draw, dtype=torch.uint8)
    return photos, torch.arange(BATCH) // 4


def gradients(
    loss: str, dtype: str, accumulation: int, worker: Worker, *, drop_path: float = 0.0
) -> Gradients:
    """Gradients and the loss after one batch, of which each rank has its part."""
    setting = trial(LOSSES[loss], accumulation=accumulation)
    whole = model(setting, dtype, drop_path=drop_path)
    wrapped = whole if worker.world == 1 else DistributedDataParallel(whole)
    photos, labels = (part[worker.rank :: worker.world] for part in batch())
    torch.manual_seed(2)
    value = backward(setting, worker, whole, photos, labels, wrapped=wrapped)
    found = {name: parameter.grad for name, parameter in whole.named_parameters()}
    return {name: grad for name, grad in found.items() if grad is not None} | {"loss": value}


def of_two_processes(folder: Path) -> dict[tuple[str, str, int], list[Gradients]]:
    """Gradients of every case on each of two real processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_work, (port, str(folder)), nprocs=2)
    parts = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return {case: [part["/".join(map(str, case))] for part in parts] for case in CASES}


def _work(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=rank, world_size=2)
    worker = Worker.of_process_group(torch.device("cpu"))
    found = {"/".join(map(str, case)): gradients(*case, worker) for case in CASES}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()

"""Check everything a study leans on, before one is started.

In: where results and tracking go. Out: one line per check, each with what to do where it is not well.
"""

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from reid_ray import allotted
from reid_ray.errors import ReidError
from reid_ray.runs import files
from reid_ray.runs.storage import address, remote

if TYPE_CHECKING:
    from reid_ray.on_ray.cluster.nodes import Node

Status = Literal["ok", "note", "fault"]

_MODULES = {
    "ray": "ray",
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "pytorch-metric-learning": "pytorch_metric_learning",
    "opencv-python-headless": "cv2",
    "kornia": "kornia",
    "mlflow": "mlflow",
    "pyarrow": "pyarrow",
    "numba": "numba",
}
"""Distributions that must import, and by which name."""
PAPER_BACKBONES = ("swin_base_patch4_window7_224.ms_in22k_ft_in1k", "efficientnet_b3.ra2_in1k")
_GIB = 2**30
_FREE_DISK = 10 * _GIB
_SHARED_SHARE = 0.25
"""Of the memory; Ray keeps photos in /dev/shm and otherwise writes them to a much slower disk."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: `fault` stops studies, `note` slows or limits them."""

    what: str
    status: Status
    text: str


def examine(*, storage: Path, tracking_uri: str | None) -> Iterator[Check]:
    """All checks, one after another, as they are made."""
    yield from _libraries()
    yield from _machine(storage)
    yield _guarded("matching", _matching)
    yield from (_guarded(f"weights of {name}", partial(_weights, name)) for name in PAPER_BACKBONES)
    yield _guarded("MLflow", lambda: _mlflow(tracking_uri, storage))
    yield from _cluster(storage)


def _guarded(what: str, check: Callable[[], Check]) -> Check:
    """A check that fails itself is a fault, too."""
    try:
        return check()
    except Exception as error:
        return Check(
            what, "fault", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )


def _libraries() -> Iterator[Check]:
    for name, module in _MODULES.items():
        try:
            found = version(name)
            import_module(module)
        except PackageNotFoundError:
            yield Check(name, "fault", "not installed; run `uv sync` in the project's folder")
        except Exception as error:  # a library that does not fit another one raises anything
            yield Check(name, "fault", f"{found} does not import: {error}; install all anew: `uv sync`")
        else:
            yield Check(name, "ok", found)


def _machine(storage: Path) -> Iterator[Check]:
    import psutil
    import torch

    memory = psutil.virtual_memory()
    yield Check(
        "memory",
        "ok" if memory.available > 2 * _GIB else "note",
        f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB free, {allotted.cpus()} of "
        f"{os.cpu_count()} CPUs",
    )
    shared = shutil.disk_usage("/dev/shm") if Path("/dev/shm").is_dir() else None
    if shared is not None:
        enough = shared.total >= _SHARED_SHARE * memory.total
        advice = "" if enough else "; in a container start it with a larger --shm-size"
        yield Check("/dev/shm", "ok" if enough else "note", f"{shared.total / _GIB:.1f} GiB{advice}")
    yield _guarded("storage", lambda: _storage(storage))
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            card = torch.cuda.get_device_properties(index)
            bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
            yield Check("GPU", "ok", f"{card.name}, {card.total_memory / _GIB:.0f} GiB, {bf16}")
    else:
        yield Check("GPU", "note", "none here: tiny backbones and local features only, or use a cluster")


def _storage(storage: Path) -> Check:
    probe = storage / f".doctor-{uuid.uuid4().hex}"
    files.write_bytes(probe, b"x")
    files.remove(probe)
    where = address(storage)
    if remote(storage) is not None:
        return Check("storage", "ok", f"{where} can be written")
    free = shutil.disk_usage(storage).free
    enough = free > _FREE_DISK
    text = f"{where} can be written, {free / _GIB:.0f} GiB free"
    return Check("storage", "ok" if enough else "note", text + ("" if enough else "; make room"))


def _matching() -> Check:
    from reid_ray.matching.engine import fastest_product

    product = fastest_product()
    slow = "; matching works, but several times slower than with int8 instructions"
    return Check(
        "matching",
        "note" if product == "float32" else "ok",
        f"{product} products" + (slow if product == "float32" else ""),
    )


def _weights(name: str) -> Check:
    from reid_ray.embedding.backbones import resolve_weights

    weights, why = resolve_weights(name, "auto")
    missing = "neither cached nor can the hub be reached; fetch them once, or set training.weights"
    return Check(
        f"weights of {name}", "note" if weights == "random" else "ok", missing if weights == "random" else why
    )


def _mlflow(uri: str | None, storage: Path) -> Check:
    from reid_ray.reporting.mlflow_store import reachable

    if uri is None and remote(storage) is not None:
        return Check(
            "MLflow",
            "note",
            "no server given: each study writes SQLite, copied to the storage at its end; set tracking_uri",
        )
    where = uri or f"sqlite:///{storage.absolute() / 'mlflow.db'}"
    try:
        found = reachable(where)
    except ReidError as error:
        return Check("MLflow", "fault", str(error))
    return Check("MLflow", "ok", f"{where}: {found} studies so far")


def _cluster(storage: Path) -> Iterator[Check]:
    """Ray, and that every node of it can write where results go."""
    from reid_ray.on_ray.cluster.nodes import ask_nodes
    from reid_ray.on_ray.cluster.session import cluster

    try:
        with cluster() as found:
            yield Check("Ray", "ok", str(found))
            if socket.gethostbyname(socket.gethostname()).startswith("127.") and found.nodes > 1:
                yield Check(
                    "network",
                    "note",
                    "this host's name is 127.x to itself, which gloo hands "
                    "to other hosts: set GLOO_SOCKET_IFNAME",
                )
            for node in ask_nodes(storage):
                yield _node(node, storage, embedded=found.embedded)
    except Exception as error:  # Ray raises many kinds where it cannot start
        yield Check("Ray", "fault", f"{type(error).__name__}: {str(error).splitlines()[0]}")


def _node(node: "Node", storage: Path, *, embedded: bool) -> Check:
    """What one node says of itself."""
    from reid_ray.runs.provenance import libraries

    what = f"node {node.address}"
    if node.fault:
        return Check(what, "fault", node.fault)
    ours = libraries()
    if differing := sorted(name for name, one in ours.items() if node.libraries.get(name) != one):
        return Check(what, "fault", f"has other versions of {', '.join(differing)}; use one image for all")
    seen = f"sees {address(storage)}, same versions"
    return Check(what, "ok", "this machine" if embedded else seen)

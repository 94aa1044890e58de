"""Ask every node of the cluster whether it can read and write where results go, before work starts.

In: the storage. Out: what each node says, or an error that names the node which cannot.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from reid_ray.errors import StorageError
from reid_ray.runs import files
from reid_ray.runs.provenance import libraries
from reid_ray.runs.storage import address

ANSWER_WITHIN_S = 120


@dataclass(frozen=True)
class Node:
    """What one node says.

    Attributes:
        fault: why it cannot use the storage; "" where it can.
        libraries: its versions.
    """

    address: str
    fault: str
    libraries: dict[str, str]


def ask_nodes(storage: Path) -> Iterator[Node]:
    """Every node that is up: it reads what this process wrote, and writes what this process reads.

    Raises:
        StorageError: this process itself cannot write there.
    """
    marker = storage / f".probe-{uuid4().hex}"
    files.write_bytes(marker, b"asked")
    nodes = [node for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=0, max_retries=0)(_look_from_there)
    asked = [
        task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(str(node["NodeID"]), soft=False)
        ).remote(str(marker))
        for node in nodes
    ]
    try:
        for node, ref in zip(nodes, asked, strict=True):
            yield Node(str(node["NodeManagerAddress"]), *_answer(ref, storage))
    finally:
        files.remove(marker)


def check_storage(storage: Path) -> None:
    """Raises:
    StorageError: a node cannot use the storage; names the node, and what it met.
    """
    for node in ask_nodes(storage):
        if node.fault:
            raise StorageError(f"node {node.address} {node.fault}")


def _answer(ref: ray.ObjectRef, storage: Path) -> tuple[str, dict[str, str]]:
    """Fault and versions."""
    try:
        fault, written, theirs = ray.get(ref, timeout=ANSWER_WITHIN_S)
    except Exception as error:  # Ray raises many kinds: lost, late, not to be imported there
        line = (str(error).splitlines() or [""])[0]
        return f"runs no task: {type(error).__name__}: {line}", {}
    if not fault and not files.exists(there := Path(written)):
        fault = f"writes, but {address(there)} is not to be seen from the driver"
    files.remove(Path(written))
    if fault:
        fault += f"; set storage ({address(storage)}) to a folder that all nodes share, or to object "
        fault += "storage (s3://...) whose keys all nodes have in their environment"
    return fault, theirs


def _look_from_there(marker: str) -> tuple[str, str, dict[str, str]]:
    """Runs on the node: fault, the file that it wrote, versions."""
    path = Path(marker)
    beside = path.with_name(f".probe-{uuid4().hex}")
    try:
        files.read_bytes(path)
    except (OSError, StorageError) as error:
        return f"cannot see {address(path)} ({error})", str(beside), libraries()
    try:
        files.write_bytes(beside, b"answered")
    except StorageError as error:
        return str(error), str(beside), libraries()
    return "", str(beside), libraries()

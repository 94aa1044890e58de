"""What each node of the cluster has, as a worker must fit on one node, not on their sum."""

from collections.abc import Sequence
from typing import NamedTuple


class Share(NamedTuple):
    """One node: its address, all its CPUs and GPUs, whether they are free or not, and Ray's id of it."""

    address: str
    cpus: float
    gpus: float
    node: str = ""

    def slots(self, *, cpus: float, gpus: float) -> int:
        """How many workers of so many CPUs and GPUs the node holds; a fraction of a GPU is of one card."""
        found = int(self.cpus // cpus) if cpus else 1 << 30
        if gpus >= 1:
            return min(found, int(self.gpus // gpus))
        return min(found, int(self.gpus) * int(1 / gpus)) if gpus else found


def shares_of_nodes() -> tuple[Share, ...]:
    """Of all nodes that are alive, as Ray sees them."""
    import ray

    return tuple(
        Share(
            str(node["NodeManagerAddress"]),
            float(node["Resources"].get("CPU", 0)),
            float(node["Resources"].get("GPU", 0)),
            str(node["NodeID"]),
        )
        for node in ray.nodes()
        if node["Alive"]
    )


def left_over(shares: Sequence[Share], *, cpus: float, gpus: float) -> list[str]:
    """Ids of nodes, each as often as it has CPUs to spare while workers of so many CPUs and GPUs hold all
    cards that they can.
    """
    return [one.node for one in shares for _ in range(int(one.cpus - cpus * one.slots(cpus=cpus, gpus=gpus)))]


def closest(shares: Sequence[Share], *, cpus: float, gpus: float) -> Share:
    """The node that comes closest to holding a worker of so many CPUs and GPUs."""
    return max(shares, key=lambda one: (min(one.gpus, gpus), min(one.cpus, cpus), one.cpus))

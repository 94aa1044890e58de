"""Let DDP workers on different nodes find each other.

gloo listens on whatever address the host's own name stands for, which on many machines is 127.0.1.1: workers
of other nodes are then told to connect to themselves. So each worker is told its node's interface.
"""

import os
from dataclasses import dataclass

import ray
from ray.train.torch import TorchConfig


@dataclass
class NodeAddresses(TorchConfig):  # type: ignore[misc]
    """`TorchConfig` for nodes as they are."""

    @property
    def backend_cls(self) -> type["_OnNodeAddresses"]:
        return _OnNodeAddresses


class _OnNodeAddresses(TorchConfig().backend_cls):  # type: ignore[misc]
    def on_start(self, worker_group: object, backend_config: TorchConfig) -> None:
        worker_group.execute(_use_node_address)  # type: ignore[attr-defined]
        super().on_start(worker_group, backend_config)


def _use_node_address() -> None:
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


def interface_of(address: str) -> str | None:
    """Name of the network interface that has this address; None where none has."""
    import psutil

    found = psutil.net_if_addrs().items()
    return next((name for name, own in found if any(a.address == address for a in own)), None)

"""A GPU that Ray gives and torch does not find is an error, not a slow training on the CPU."""

import pytest
import ray
import torch

from reid_ray.errors import ResourceError
from reid_ray.on_ray.cluster.device import own_device


def test_a_gpu_without_cuda_names_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_gpu_ids", lambda: [0])
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"node 10\.0\.0\.7: Ray gave GPU 0 .* finds no CUDA"):
        own_device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device() == torch.device("cuda")


def test_a_process_without_a_gpu_uses_the_cpu_whatever_torch_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "get_gpu_ids", list)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert own_device() == torch.device("cpu")

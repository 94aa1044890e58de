"""What can be proved of a card without one: every tensor stays on it, and networks compile as one graph."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from reid_ray.embedding.backbones import build
from reid_ray.embedding.model import Encoder

BACKBONES = [("efficientnet_b3", 96), ("swin_base_patch4_window7_224", 224)]


def encoder(name: str, px: int) -> Encoder:
    return Encoder(build(name, weights="random", input_px=px)).eval()


@pytest.mark.parametrize(("name", "px"), BACKBONES)
def test_the_papers_networks_run_on_a_card_without_a_tensor_left_behind(name: str, px: int) -> None:
    """Fake tensors refuse to mix devices, as a card does, and need none."""
    model = encoder(name, px)
    with FakeTensorMode():
        there = {
            key: torch.empty(one.shape, dtype=one.dtype, device="cuda")
            for key, one in [*model.named_parameters(), *model.named_buffers()]
        }
        photos = torch.empty((4, 3, px, px), dtype=torch.uint8, device="cuda")
        features = functional_call(model, there, (photos,))
        assert (features.device.type, features.dtype) == ("cuda", torch.float32)
        assert len(features) == 4
        left = {**there, "mean": torch.empty((1, 3, 1, 1))}
        with pytest.raises(RuntimeError, match="cpu"):
            functional_call(model, left, (photos,))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "px"), BACKBONES)
def test_the_papers_networks_compile_as_one_graph(name: str, px: int) -> None:
    torch._dynamo.reset()
    found = torch._dynamo.explain(encoder(name, px))(torch.zeros((2, 3, px, px), dtype=torch.uint8))
    assert (found.graph_count, found.graph_break_count) == (1, 0), found.break_reasons

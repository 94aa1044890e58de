"""What can be proved of a card without one: every tensor stays on it, and networks compile as one graph."""

import pytest
import torch
from gradients import LOSSES
from tiny_training import trial
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.func import functional_call

from reid_ray.config.training import Loss
from reid_ray.embedding.backbones import Backbone, build
from reid_ray.embedding.context import Worker
from reid_ray.embedding.model import Encoder, ReidModel
from reid_ray.embedding.step import backward

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


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_no_shape_and_no_decision_in_a_step_waits_for_a_value(loss: Loss, accumulation: int) -> None:
    """A card runs behind the program, and whoever asks for a value waits for it. Fake tensors have none."""
    setting = trial(loss, accumulation=accumulation)
    if accumulation > 1 and loss.name == "triplet":
        setting = setting.model_copy(update={"accumulate": "sum"})
    with FakeTensorMode():
        network = nn.Sequential(nn.Conv2d(3, 6, 32), nn.Flatten())
        network.num_features = 6  # type: ignore[assignment]
        backbone = Backbone(network, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "random")
        model = ReidModel(setting, backbone, classes=4).train()
        photos, labels = torch.empty((8, 3, 32, 32), dtype=torch.uint8), torch.empty(8, dtype=torch.int64)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        backward(setting, Worker(), model, photos, labels, wrapped=model)
        optimizer.step()
        value = model(photos, labels)
        with pytest.raises(DataDependentOutputException):
            float(value)
        with pytest.raises(DynamicOutputShapeException):
            labels[labels == 1]

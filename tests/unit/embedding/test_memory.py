"""The estimate of memory, against counting by hand."""

import pytest
import torch
from tiny_training import trial
from torch import nn

from reid_ray.embedding import memory
from reid_ray.embedding.backbones import Backbone
from reid_ray.embedding.memory import estimate


class Small(nn.Module):
    """3 -> 8 channels, ReLU, mean over pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.num_features = 8

    def forward(self, photos: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.convolution(photos)).mean((2, 3))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        memory, "build", lambda *_, **__: Backbone(Small(), (0.5,) * 3, (0.25,) * 3, "random")
    )


def test_parameters_count_as_weights_gradients_and_momentum() -> None:
    need = estimate(trial())
    assert need.parameters == 8 * 3 * 9 + 8
    assert need.state == 3 * 4 * need.parameters


def test_activations_are_the_tensors_kept_for_the_backward_pass() -> None:
    # Per photo of 32 px in fp32: the normalised input (3 channels) for the convolution's weights,
    # and ReLU's output (8 channels).
    per_photo = (3 + 8) * 32 * 32 * 4
    assert estimate(trial(batch_size=8)).activations == 8 * per_photo


def test_workers_and_accumulation_share_the_batch() -> None:
    whole = estimate(trial(batch_size=16)).activations
    assert estimate(trial(batch_size=16), workers=2).activations == whole // 2
    assert estimate(trial(batch_size=16, accumulation=4), workers=2).activations == whole // 8

"""A checkpoint is resumed on whatever device there is."""

from pathlib import Path

import pytest
import torch
from torch import nn

from reid_ray.config.training import ArcFace, Trial
from reid_ray.embedding import checkpoint
from reid_ray.embedding.selection import Selection


def training(seed: int) -> checkpoint.Training:
    torch.manual_seed(seed)
    model = nn.Linear(6, 5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    loss = ArcFace(name="arcface", margin_rad=0.25, scale=16.0)
    trial = Trial(backbone="test_resnet", loss=loss, lr=0.1, epochs=9)
    return checkpoint.Training(trial, model, optimizer, schedule, Selection(trial))


def test_what_a_gpu_saved_is_resumed_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = training(0)
    saved.model(torch.ones(2, 6)).sum().backward()
    saved.optimizer.step()
    with monkeypatch.context() as on_a_gpu:
        on_a_gpu.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        checkpoint.save(tmp_path, saved, epoch=3)
    resumed = training(1)
    assert checkpoint.resume(tmp_path, resumed) == 3
    for one, another in zip(saved.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, another)
        momenta = [
            side.optimizer.state[value]["momentum_buffer"]
            for side, value in ((saved, one), (resumed, another))
        ]
        assert torch.equal(*momenta)

"""BatchNorm over the global batch equals BatchNorm on one worker with all of it."""

import copy
from pathlib import Path

import pytest
import timm
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import save_file
from tiny_training import photos, trial
from torch.nn.parallel import DistributedDataParallel

from reid_ray.embedding.batchnorm import globalise
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import train
from reid_ray.errors import ConfigError

WORLD, PHOTOS = 2, 6


def backbone(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0).double().train()


def batch() -> torch.Tensor:
    return torch.randn(WORLD * PHOTOS, 3, 64, 64, dtype=torch.float64, generator=torch.manual_seed(1))


def worker(rank: int, name: str, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    model = DistributedDataParallel(globalise(backbone(name), torch.device("cpu")))
    features = model(batch()[rank * PHOTOS : (rank + 1) * PHOTOS])
    # DDP averages over ranks, so the sum over all photos is world size times a rank's part.
    (features.square().sum() * WORLD).backward()
    gradients = {key: value.grad for key, value in model.module.named_parameters()}
    torch.save((features.detach(), gradients, model.module.state_dict()), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


# One plain BatchNorm network and one whose layers have timm's fused activation.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_two_workers_equal_one_with_all_photos(name: str, tmp_path: Path) -> None:
    alone = backbone(name)
    features = alone(batch())
    features.square().sum().backward()
    mp.spawn(worker, (name, str(tmp_path)), nprocs=WORLD)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    torch.testing.assert_close(torch.cat([part[0] for part in parts]), features.detach())
    for key, value in alone.named_parameters():
        torch.testing.assert_close(parts[0][1][key], value.grad, rtol=1e-6, atol=1e-9, msg=key)
    for key, value in alone.state_dict().items():
        torch.testing.assert_close(parts[1][2][key], value, msg=key)


def test_evaluation_is_unchanged() -> None:
    model = backbone("test_efficientnet").eval()
    expected = model(batch())
    changed = globalise(copy.deepcopy(model), torch.device("cpu"))
    torch.testing.assert_close(changed(batch()), expected)
    assert changed.state_dict().keys() == model.state_dict().keys()


def test_kept_statistics_stay_those_of_the_weights_while_the_weights_learn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = timm.create_model("test_resnet", num_classes=0).state_dict()
    for name, value in state.items():
        if name.endswith("running_mean"):
            value.normal_()
    save_file(state, tmp_path / "net.safetensors")

    def trained(batch_norm: str) -> dict[str, torch.Tensor]:
        setting = trial(backbone="test_resnet", batch_norm=batch_norm, epochs=1)
        source = str(tmp_path / "net.safetensors")
        done = train(setting, photos(), Worker(), weights=source, report=lambda _: None)
        return done.model.encoder.backbone.state_dict()

    statistics = [name for name in state if "running_" in name]
    weights = [name for name in state if name.endswith("bn1.weight")]
    kept, batch = trained("kept"), trained("batch")
    assert all(torch.equal(kept[name], state[name]) for name in statistics)
    assert not any(torch.equal(batch[name], state[name]) for name in statistics)
    assert not any(torch.equal(kept[name], state[name]) for name in weights)


def test_statistics_of_random_weights_cannot_be_kept() -> None:
    setting = trial(backbone="test_resnet", batch_norm="kept")
    with pytest.raises(ConfigError, match="kept needs pretrained weights"):
        train(setting, photos(), Worker(), weights="random", report=lambda _: None)

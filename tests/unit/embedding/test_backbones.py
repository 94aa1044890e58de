"""Backbones come from where the config says, and say so."""

import copy
import time
from pathlib import Path

import boto3
import pytest
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from reid_ray.embedding import backbones
from reid_ray.embedding.backbones import build, native_px, resolve_weights
from reid_ray.errors import ConfigError, WeightsError

NAME = "test_efficientnet_gn"


@pytest.fixture(scope="module")
def source() -> torch.nn.Module:
    torch.manual_seed(5)
    return build(NAME, weights="random", input_px=64).module.eval()


def features(module: torch.nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        photos = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
        found: torch.Tensor = module.eval()(photos)
        return found


def test_weights_come_from_a_safetensors_file(source: torch.nn.Module, tmp_path: Path) -> None:
    save_file(source.state_dict(), tmp_path / "mine.safetensors")
    backbone = build(NAME, weights=str(tmp_path / "mine.safetensors"), input_px=64)
    assert torch.equal(features(backbone.module), features(source))
    assert backbone.weights == "local file mine.safetensors"


def test_a_classifier_in_the_file_is_left_out(source: torch.nn.Module, tmp_path: Path) -> None:
    state = source.state_dict() | {"classifier.weight": torch.zeros(10, 256)}
    save_file(state, tmp_path / "mine.safetensors")
    backbone = build(NAME, weights=str(tmp_path / "mine.safetensors"), input_px=64)
    assert torch.equal(features(backbone.module), features(source))


def test_weights_come_from_a_timm_folder(source: torch.nn.Module, tmp_path: Path) -> None:
    save_for_hf(source, tmp_path, safe_serialization=True)
    backbone = build(NAME, weights=str(tmp_path), input_px=64)
    assert torch.equal(features(backbone.module), features(source))


def test_weights_come_from_object_storage_and_anew_when_they_change(
    source: torch.nn.Module, bucket: str, tmp_path: Path
) -> None:
    storage = boto3.client("s3")
    for change in (0.0, 1.0):
        changed = copy.deepcopy(source)
        with torch.no_grad():
            for parameter in changed.parameters():
                parameter.add_(change)
        save_for_hf(changed, tmp_path, safe_serialization=True)
        for file in tmp_path.iterdir():
            storage.upload_file(str(file), "results", f"models/mine/{file.name}")
        built = build(NAME, weights=f"{bucket}/models/mine", input_px=64)
        assert torch.equal(features(built.module), features(changed))
        time.sleep(1.1)  # S3 tells the second of a change
    with pytest.raises(WeightsError, match="mine-not"):
        build(NAME, weights=f"{bucket}/models/mine-not", input_px=64)


def test_weights_of_another_architecture_are_refused(source: torch.nn.Module, tmp_path: Path) -> None:
    save_file(source.state_dict(), tmp_path / "mine.safetensors")
    with pytest.raises(WeightsError, match="another architecture"):
        build("test_resnet", weights=str(tmp_path / "mine.safetensors"), input_px=64)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x08" * 40])
def test_a_damaged_weights_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mine.safetensors").write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable safetensors file"):
        build(NAME, weights=str(tmp_path / "mine.safetensors"), input_px=64)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        build(NAME, weights=str(tmp_path / "nowhere.safetensors"), input_px=64)
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        build(NAME, weights=str(tmp_path), input_px=64)


def test_an_unknown_model_is_refused_and_its_neighbours_are_named() -> None:
    with pytest.raises(ConfigError, match="swin_basis") as caught:
        build("swin_basis", weights="random", input_px=64)
    assert "swin_base" in str(caught.value)


def test_a_model_of_fixed_input_size_is_made_for_another() -> None:
    backbone = build("swin_tiny_patch4_window7_224", weights="random", input_px=96)
    with torch.inference_mode():
        assert backbone.module.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, backbone.dims)


def test_the_papers_backbones_have_the_papers_sizes() -> None:
    # Million parameters without classifier and feature length: timm's results table, Swin-B 86.7,
    # EfficientNet-B3 10.7.
    with torch.device("meta"):
        swin = build("swin_base_patch4_window7_224", weights="random", input_px=224)
        b3 = build("efficientnet_b3", weights="random", input_px=224)
    assert (swin.dims, b3.dims) == (1024, 1536)
    sizes = [sum(p.numel() for p in backbone.module.parameters()) / 1e6 for backbone in (swin, b3)]
    assert sizes == pytest.approx([86.7, 10.7], abs=0.1)


def test_pixels_are_normalised_as_the_weights_want() -> None:
    imagenet = build("resnet18", weights="random", input_px=64)
    assert imagenet.mean == (0.485, 0.456, 0.406)
    assert imagenet.std == (0.229, 0.224, 0.225)
    assert build("vit_base_patch16_224", weights="random", input_px=224).mean == (0.5, 0.5, 0.5)


def test_automatic_weights_are_random_and_say_so_where_the_hub_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backbones, "is_cached", lambda _: False)
    monkeypatch.setattr(backbones, "hub_answers", lambda: False)
    weights, why = resolve_weights("efficientnet_b3", "auto")
    assert weights == "random"
    assert "RANDOM" in why


def test_automatic_weights_are_the_hubs_where_they_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "is_cached", lambda _: True)
    assert resolve_weights("efficientnet_b3.ra2_in1k", "auto")[0] == "hub"


def test_a_choice_of_weights_is_kept() -> None:
    assert resolve_weights("efficientnet_b3", "random")[0] == "random"
    assert resolve_weights("efficientnet_b3", "/some/file.safetensors")[0].endswith(".safetensors")


def test_a_models_own_input_size_is_known() -> None:
    assert native_px("swin_base_patch4_window7_224") == 224
    assert native_px("vit_large_patch14_clip_quickgelu_336.openai") == 336

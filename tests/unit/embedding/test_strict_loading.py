"""Weights are loaded whole into their own architecture, or refused, whatever their source."""

import copy
import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from reid_ray.embedding import backbones
from reid_ray.embedding.backbones import build
from reid_ray.errors import WeightsError

NAME, OTHER = "test_efficientnet_gn", "test_resnet"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A timm folder of NAME, with a classifier as published ones have."""
    torch.manual_seed(1)
    save_for_hf(timm.create_model(NAME, num_classes=10), tmp_path / "folder", safe_serialization=True)
    return tmp_path / "folder"


def as_file(folder: Path) -> Path:
    return folder / "model.safetensors"


def as_torch(folder: Path) -> Path:
    torch.save({"state_dict": load_file(as_file(folder))}, folder / "net.pth")
    return folder / "net.pth"


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(value, states[1][name]) for name, value in states[0].items()
    )


@pytest.mark.parametrize("source", [Path, as_file, as_torch])
def test_each_source_gives_the_same_network_twice(source: object, folder: Path) -> None:
    path = str(source(folder))  # type: ignore[operator]
    first, second = (build(NAME, weights=path, input_px=64) for _ in range(2))
    assert same(first.module, second.module)
    stored = load_file(as_file(folder))
    assert all(torch.equal(value, stored[name]) for name, value in first.module.state_dict().items())


@pytest.mark.parametrize("source", [Path, as_file, as_torch])
def test_each_source_of_another_architecture_is_refused(source: object, folder: Path) -> None:
    path = str(source(folder))  # type: ignore[operator]
    with pytest.raises(
        WeightsError, match=f"another architecture than {OTHER}: .*give the weights of {OTHER}"
    ):
        build(OTHER, weights=path, input_px=64)


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_a_single_wrong_tensor_is_refused_and_named(change: str, folder: Path) -> None:
    state = load_file(as_file(folder))
    name = "conv_head.weight"
    if change == "missing":
        del state[name]
    elif change == "extra":
        state["conv_head.other"] = torch.zeros(3)
    else:
        state[name] = state[name][:-1].clone()
    save_file(state, as_file(folder))
    with pytest.raises(WeightsError, match=r"conv_head\.(weight|other)"):
        build(NAME, weights=str(folder), input_px=64)


def test_values_that_are_not_finite_are_refused(folder: Path) -> None:
    state = load_file(as_file(folder))
    state["conv_head.weight"][0] = float("nan")
    save_file(state, as_file(folder))
    with pytest.raises(WeightsError, match=r"conv_head\.weight.*not finite"):
        build(NAME, weights=str(folder), input_px=64)


def test_what_the_hub_gives_is_loaded_as_strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    published = timm.create_model(OTHER).state_dict()
    serve = lambda *_, **__: copy.deepcopy(published)  # noqa: E731
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", serve)
    whole = build(f"{OTHER}.r160_in1k", weights="hub", input_px=64)
    found = whole.module.state_dict()
    assert all(torch.equal(value, published[name]) for name, value in found.items())
    del published["layer4.0.conv1.weight"]
    with pytest.raises(WeightsError, match=r"another architecture.*layer4\.0\.conv1"):
        build(f"{OTHER}.r160_in1k", weights="hub", input_px=64)


def test_the_network_keeps_no_second_copy_of_its_weights(folder: Path) -> None:
    module = build(NAME, weights=str(folder), input_px=64).module
    json.dumps(module.pretrained_cfg)  # holds no tensors


def test_loading_is_looked_at_only_while_it_is(folder: Path) -> None:
    before = torch.nn.Module.load_state_dict
    build(NAME, weights=str(folder), input_px=64)
    with pytest.raises(WeightsError):
        build(OTHER, weights=str(folder), input_px=64)
    assert torch.nn.Module.load_state_dict is before


def test_a_fit_is_looked_at_again_when_the_file_changes(folder: Path) -> None:
    backbones.check_fit(NAME, folder)
    as_file(folder).write_bytes(b"other")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        backbones.check_fit(NAME, folder)

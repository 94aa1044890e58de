"""Where weights are is known before any work; every published model is known by its own name."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import save_for_hf

from reid_ray.config.models import Pretrained, published
from reid_ray.embedding import availability, backbones
from reid_ray.embedding.availability import find
from reid_ray.errors import ConfigError


def model(**raw: object) -> Pretrained:
    return Pretrained.parse({"name": "mine", **raw}, where="test")


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache and no hub."""
    monkeypatch.setattr(availability, "_hub_answers", lambda: False)
    monkeypatch.setattr(availability, "cached_folder", lambda _: None)
    monkeypatch.setattr(backbones, "is_cached", lambda _: False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A timm folder, as a study's selected_trial or a download is."""
    torch.manual_seed(1)
    network = timm.create_model("test_efficientnet_gn", num_classes=0)
    to = tmp_path / "selected_trial"
    save_for_hf(network, to, safe_serialization=True, data_config={"input_size": (3, 96, 96)})
    return to


def test_a_timm_folder_says_what_it_is_and_how_large_its_photos_are(folder: Path) -> None:
    found = find(model(weights=str(folder)))
    assert (found.status, found.architecture) == ("local", "test_efficientnet_gn")
    assert found.input_px == 96
    assert find(model(weights=str(folder), input_px=64)).input_px == 64
    assert find(model(model=str(folder))) == found


def test_a_file_of_weights_needs_its_architecture(folder: Path, tmp_path: Path) -> None:
    file = folder / "model.safetensors"
    assert find(model(weights=str(file), model="test_efficientnet_gn")).status == "local"
    found = find(model(weights=str(file)))
    assert found.missing
    assert "give model:" in found.sentence


def test_other_weights_in_the_same_place_have_another_version(folder: Path) -> None:
    before = find(model(weights=str(folder))).version
    (folder / "model.safetensors").write_bytes(b"other")
    assert find(model(weights=str(folder))).version != before


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("gone", "no such file or folder"),
        ("no weights", "no model.safetensors or pytorch_model.bin"),
        ("no config", "not the config of a timm model"),
    ],
)
def test_a_folder_that_is_not_whole_is_missing_with_the_reason(
    folder: Path, broken: str, reason: str
) -> None:
    if broken == "no weights":
        (folder / "model.safetensors").unlink()
    if broken == "no config":
        (folder / "config.json").write_text("[]")
    found = find(model(weights=str(folder / ("gone" if broken == "gone" else ""))))
    assert found.missing
    assert reason in found.sentence


def test_an_unknown_model_is_an_error_before_anything_is_started() -> None:
    with pytest.raises(ConfigError, match=r"near it:.*swin_base"):
        find(model(model="swin_basis"))


@pytest.mark.usefixtures("nowhere")
@pytest.mark.parametrize("name", sorted(published()))
def test_every_published_model_can_be_told_how_to_get(name: str) -> None:
    found = find(Pretrained.parse(name, where="test"))
    assert found.missing
    assert "hf download" in found.sentence
    assert "weights: DIR" in found.sentence
    known = published()[name]
    assert known["licence"]
    # timm publishes a tag's weights under its own name, except for quick-GELU twins.
    expected = known.get("hub") or f"timm/{known['model'].replace('_quickgelu', '')}"
    if name != "MiewID":
        assert expected in found.sentence


def test_input_sizes_are_those_the_weights_were_made_for() -> None:
    sizes = {name: find(Pretrained.parse(name, where="test")).input_px for name in published()}
    assert sizes["MegaDescriptor-T-224"] == sizes["MegaDescriptor-L-224"] == 224
    assert sizes["MegaDescriptor-L-384"] == 384
    assert sizes["DINOv2-S"] == sizes["DINOv2-L"] == 518
    assert sizes["CLIP-L-336"] == 336
    assert sizes["MiewID"] == 440


def test_where_the_hub_answers_weights_are_reachable_unless_only_the_cache_is_allowed(
    nowhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "_hub_answers", lambda: True)
    named = Pretrained.parse("MegaDescriptor-L-384", where="test")
    assert find(named).status == "reachable"
    assert find(named).weights == "hf-hub:BVRA/MegaDescriptor-L-384"
    assert find(named.model_copy(update={"weights": "cached"})).missing
    assert find(Pretrained.parse("DINOv2-L", where="test")).weights == "hub"


def test_a_download_in_the_cache_is_used_as_a_folder(
    nowhere: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "cached_folder", lambda _: folder)
    found = find(model(model="hf-hub:someone/something"))
    assert found.status == "cached"
    assert found.weights == str(folder)
    built = backbones.build(found.architecture, weights=found.weights, input_px=found.input_px)
    assert built.dims == 256


def test_weights_of_a_twin_architecture_are_read_into_the_one_that_is_asked_for(tmp_path: Path) -> None:
    """OpenAI's CLIP is published under the name of the network with the usual GELU."""
    torch.manual_seed(2)
    save_for_hf(timm.create_model("test_vit", num_classes=0), tmp_path, safe_serialization=True)
    same = backbones.build("test_vit", weights=str(tmp_path), input_px=160)
    twin = backbones.build("test_vit.r160_in1k", weights=str(tmp_path), input_px=160)
    photos = torch.linspace(-1, 1, 3 * 160 * 160).reshape(1, 3, 160, 160)
    with torch.inference_mode():
        assert torch.equal(same.module.eval()(photos), twin.module.eval()(photos))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"test_vit"', '"test_vit_with_another_gelu"'))
    asked = backbones.build("test_vit", weights=str(tmp_path), input_px=160)
    with torch.inference_mode():
        assert torch.equal(same.module.eval()(photos), asked.module.eval()(photos))


def test_miewids_network_reads_its_authors_names(tmp_path: Path) -> None:
    from reid_ray.embedding.miewid import MiewId

    torch.manual_seed(3)
    network = MiewId().eval()
    # 2152 numbers: MiewID's model card.
    assert network.num_features == 2152
    state = network.state_dict() | {"final.weight": torch.zeros(10, 2152)}
    exponent = torch.tensor([2.5])
    state.pop("pooling.p")
    save_file(state | {"backbone.global_pool.p": exponent}, tmp_path / "model.safetensors")
    found = find(Pretrained.parse({"name": "MiewID", "weights": str(tmp_path)}, where="test"))
    built = backbones.build(found.architecture, weights=found.weights, input_px=64)
    photos = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    with torch.inference_mode():
        maps = network.backbone.forward_features(photos)
        mean = (maps.clamp(min=1e-6) ** 2.5).mean(dim=(2, 3)) ** (1 / 2.5)
        torch.testing.assert_close(built.module.eval()(photos), network.bn(mean))


@pytest.mark.large
@pytest.mark.parametrize(
    ("name", "parameters"), [("CLIP-L-336", 303.5), ("DINOv3-L", 303.1), ("DINOv2-L", 304.4)]
)
def test_towers_of_their_true_size_embed_a_photo(
    name: str, parameters: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With random weights, as published ones are not there; million parameters as timm counts them."""
    from timm.layers import weight_init

    from reid_ray.datasets.prepared import PreparedImages
    from reid_ray.embedding import embed as embedding
    from reid_ray.embedding.encoding import Encoding

    # Drawn flat instead of by the inverse error function, which takes most of the time.
    quick = lambda tensor, mean, std, a, b: tensor.uniform_(-std, std)  # noqa: E731
    monkeypatch.setattr(weight_init, "_trunc_normal_", quick)
    monkeypatch.setattr(embedding, "of_device", lambda _: "bf16")
    found = find(Pretrained.parse({"name": name, "weights": "random"}, where="test"))
    made = Encoding(found.architecture, "random", found.input_px).build(tmp_path, "cpu")
    size = sum(parameter.numel() for parameter in made.encoder.parameters()) / 1e6
    assert size == pytest.approx(parameters, abs=0.1)
    photo = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    vectors = made.vectors(PreparedImages.pack([photo]), np.array([0]))
    assert vectors.shape == (1, 1024)
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)

"""Models are named, or told; the configs that come along are valid."""

from pathlib import Path

import pytest

from reid_ray.config.base import load
from reid_ray.config.evaluate import EvaluateRun
from reid_ray.config.models import Pretrained, published
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError

ROOT = Path(__file__).parents[3]
ZEBRAS = {"datasets": [{"source": "synthetic", "name": "zebras", "species": "zebra"}]}


def run(*models: object) -> EvaluateRun:
    return EvaluateRun.parse({"name": "mine", "data": ZEBRAS, "models": list(models)}, where="test")


@pytest.mark.parametrize("path", sorted((ROOT / "tune_configs" / "evaluate").glob("*.yaml")), ids=str)
def test_every_evaluate_config_is_valid(path: Path) -> None:
    assert load(EvaluateRun, path).name == f"evaluate-{path.stem}"


def test_the_list_of_published_models_is_compared_whole() -> None:
    config = load(EvaluateRun, ROOT / "tune_configs" / "evaluate" / "pretrained.yaml")
    assert {model.name for model in config.models} == set(published())


def test_a_name_alone_a_name_with_weights_and_a_model_of_ones_own() -> None:
    models = run(
        "MegaDescriptor-L-384",
        {"name": "DINOv2-L", "weights": "/weights", "input_px": 224},
        {"name": "mine", "model": "resnet18", "weights": "/mine.safetensors", "mean": [0.1, 0.2, 0.3]},
    ).models
    # arXiv 2311.09118, table 1, and the model cards: Swin-L, 384 px; ViT-L/14 of DINOv2.
    assert models[0].model == "swin_large_patch4_window12_384"
    assert models[0].hub == "BVRA/MegaDescriptor-L-384"
    assert models[0].mean == (0.485, 0.456, 0.406)
    assert "NC" in models[0].licence
    assert models[1].model == "vit_large_patch14_dinov2.lvd142m"
    assert (models[1].weights, models[1].input_px) == ("/weights", 224)
    assert models[2].mean == (0.1, 0.2, 0.3)


def test_the_same_short_names_are_known_to_a_study() -> None:
    raw = {"name": "mine", "data": ZEBRAS, "baselines": {"pretrained": ["CLIP-L-336"]}}
    (clip,) = Study.parse(raw, where="test").baselines.pretrained
    # The bare name would be the network with the usual GELU, which OpenAI did not train.
    assert clip.model == "vit_large_patch14_clip_quickgelu_336.openai"


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (["MegaDescriptor"], "no model is known as 'MegaDescriptor'.*MegaDescriptor-L-384"),
        ([{"name": "mine"}], "give model:"),
        ([{"name": "DINOv2-L", "wieghts": "/w"}], "wieghts: unknown key"),
        ([{"name": "DINOv2-L", "mean": [1.0]}], "models.0.mean"),
        (["DINOv2-L", "DINOv2-L"], r"found twice: \['DINOv2-L'\]"),
        ([], "models"),
    ],
)
def test_what_is_no_model_is_refused(models: list[object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        run(*models)


def test_a_list_of_ones_own_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "models.yaml"
    path.write_text("Ours:\n  model: resnet18\n  weights: /ours\n  licence: ours\n")
    monkeypatch.setenv("REID_RAY_MODELS", str(path))
    ours, theirs = run("Ours", "DINOv2-S").models
    assert (ours.model, ours.weights, ours.licence) == ("resnet18", "/ours", "ours")
    assert theirs.model.startswith("vit_small")
    path.write_text("Ours: resnet18\n")
    with pytest.raises(ConfigError, match="Ours is not a map"):
        published()


def test_two_ways_to_name_a_model_that_differ_in_words_only_have_equal_settings() -> None:
    parse = Pretrained.parse
    plain = parse({"name": "a", "model": "resnet18"}, where="test")
    assert plain.settings == parse({"name": "b", "model": "resnet18", "licence": "x"}, where="test").settings
    assert plain.settings != parse({"name": "a", "model": "resnet18", "input_px": 96}, where="test").settings


def test_what_builds_on_a_model_names_one_of_this_run() -> None:
    few = {"name": "few", "shortlist": {"by": "DINOv2-L", "size": 50}}
    given = {"name": "mine", "data": ZEBRAS, "models": ["DINOv2-L"], "methods": [few]}
    fused = [{"parts": ["few", "DINOv2-L"], "shortlist": {"by": "DINOv2-L", "size": 50}}]
    study = EvaluateRun.parse(given | {"fusion": fused}, where="test").study()
    assert study.fusion[0].parts == ("few", "DINOv2-L")
    assert study.baselines.matching[0].shortlist is not None
    with pytest.raises(ConfigError, match="selected_trial"):
        EvaluateRun.parse(given | {"fusion": [{"parts": ["few", "selected_trial"]}]}, where="test")

"""Pretrained models, on a real Ray: local ones are scored, missing ones are told, vectors are kept."""

import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from rich.console import Console
from timm.models import save_for_hf

from reid_ray.config.evaluate import EvaluateRun
from reid_ray.embedding.backbones import build
from reid_ray.embedding.embed import embed
from reid_ray.embedding.model import Encoder
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.study import Outcome, run_study
from reid_ray.progress import Display
from reid_ray.studies.dry_run import forecast

pytestmark = pytest.mark.ray


def config(folder: Path, name: str, models: list[object]) -> EvaluateRun:
    synthetic = {"source": "synthetic", "name": "zebra", "species": "zebra"}
    raw = {
        "name": name,
        "data": {
            "datasets": [{**synthetic, "identities": 4, "photos": 6, "size_px": 64}],
            "images": {"short_px": 64},
        },
        "models": models,
        "storage": str(folder / "runs"),
        "reports": str(folder / "reports"),
    }
    return EvaluateRun.parse(raw, where="test")


def run(evaluate: EvaluateRun) -> tuple[Outcome, str]:
    told = io.StringIO()
    outcome = run_study(evaluate.study(), display=Display(Console(file=told, width=300)))
    return outcome, told.getvalue()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny networks in the place of published ones, as folders and as a bare file."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("test_vit", "test_resnet"):
        torch.manual_seed(7)
        save_for_hf(timm.create_model(name, num_classes=0), folder / name, safe_serialization=True)
    return folder


def test_models_are_scored_or_told_and_a_second_study_embeds_nothing(
    running_ray: Cluster, tmp_path: Path, weights: Path
) -> None:
    models: list[object] = [
        {"name": "vit", "weights": str(weights / "test_vit"), "licence": "nobody's"},
        {
            "name": "resnet",
            "model": "test_resnet",
            "input_px": 48,
            "mean": [0.4, 0.4, 0.4],
            "weights": str(weights / "test_resnet" / "model.safetensors"),
        },
        {
            "name": "twisted",
            "model": "test_vit",
            "weights": str(weights / "test_resnet" / "model.safetensors"),
        },
        {"name": "MegaDescriptor-L-384", "weights": str(weights / "nowhere")},
    ]
    first = config(tmp_path, "first", models)
    lines = forecast(first.study()).splitlines()
    assert next(line for line in lines if "MegaDescriptor" in line).split()[1] == "missing"
    assert next(line for line in lines if " vit " in line).split()[1:4] == ["local", "160", "px"]

    outcome, told = run(first)
    results = {method.result.method: method.result for method in outcome.record.methods}
    assert [results[name].status for name in ("vit", "resnet", "twisted", "MegaDescriptor-L-384")] == [
        "finished",
        "finished",
        "not_run",
        "not_run",
    ]
    assert "another architecture" in results["twisted"].note
    assert "no such file" in results["MegaDescriptor-L-384"].note
    assert results["MegaDescriptor-L-384"].metrics == {}
    assert not outcome.record.failed()
    assert "MegaDescriptor-L-384 will not be run" in told
    page = outcome.report.read_text()
    assert "vit: nobody" in page
    assert "not run: " in page

    kept = sorted((tmp_path / "runs" / "vectors").glob("*/*.safetensors"))
    assert len({path.parent for path in kept}) == 2
    times = [path.stat().st_mtime_ns for path in kept]
    again, _ = run(config(tmp_path, "second", models[:2]))
    assert sorted((tmp_path / "runs" / "vectors").glob("*/*.safetensors")) == kept
    assert [path.stat().st_mtime_ns for path in kept] == times
    for method in again.record.methods:
        assert method.result.metrics == results[method.result.method].metrics


def test_a_study_finds_the_neighbours_that_the_models_own_vectors_give(
    running_ray: Cluster, tmp_path: Path, weights: Path
) -> None:
    from reid_ray.on_ray.photos import load_photos

    models: list[object] = [{"name": "vit", "weights": str(weights / "test_vit")}]
    evaluate = config(tmp_path, "own", models)
    outcome, _ = run(evaluate)
    predictions = next(m.predictions for m in outcome.record.methods if m.result.method == "vit")
    assert predictions is not None
    display = Display(Console(file=io.StringIO()))
    runs = tmp_path / "runs"
    photos = load_photos(evaluate.data, made=runs / "synthetic", prepared=runs / "prepared", display=display)
    encoder = Encoder(build("test_vit", weights=str(weights / "test_vit"), input_px=160))
    vectors = embed(
        encoder,
        photos.images,
        np.arange(len(photos.rows)),
        px=160,
        device=torch.device("cpu"),
        interpolation="bicubic",
    )
    rows = photos.rows.reset_index(drop=True)
    references = rows[rows["split"] == "reference"]
    for answer in predictions.itertuples():
        query = rows.index[rows["key"] == answer.query][0]
        scores = vectors[references.index] @ vectors[query]
        assert scores.max() == pytest.approx(answer.top_scores[0], abs=1e-5)
        at = list(references["key"]).index(answer.top_keys[0])
        assert scores[at] == pytest.approx(scores.max(), abs=1e-5)

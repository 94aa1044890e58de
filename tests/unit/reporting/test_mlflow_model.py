"""What goes to MLflow with a model is the method, and nothing of the folder that a study was started in."""

from pathlib import Path

import pytest

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Matching
from reid_ray.methods import saved
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.reporting import mlflow_model, mlflow_store  # the latter sets MLflow up


def test_no_file_of_the_project_around_goes_with_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mlflow_store
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "0"\n')
    (project / "uv.lock").write_text(
        'version = 1\n[[package]]\nsource = { registry = "https://secret.example" }\n'
    )
    monkeypatch.chdir(project)
    saved.save(saved.SavedMethod(LocalFeatures(Matching()), Images()), tmp_path / "selected")
    mlflow_model.save(tmp_path / "selected", tmp_path / "model")
    there = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert "MLmodel" in {path.name for path in there}
    assert not {"uv.lock", "pyproject.toml"} & {path.name for path in there}
    assert not any(b"secret.example" in path.read_bytes() for path in there)

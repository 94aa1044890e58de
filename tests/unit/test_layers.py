"""The layer contracts hold, and each is caught when it is broken on purpose."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    command = [str(program), "--config", str(folder / "pyproject.toml"), "--no-cache"]
    environment = {"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "reid_ray", tmp_path / "reid_ray")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy: Path) -> None:
    checked = lint_imports(copy)
    assert checked.returncode == 0, checked.stdout
    assert "0 broken" in checked.stdout


@pytest.mark.parametrize(
    ("module", "forbidden", "contract"),
    [
        ("matching/sift.py", "reid_ray.evaluation.knn", "each layer imports only those below it"),
        ("datasets/folder.py", "reid_ray.splits.assign", "each layer imports only those below it"),
        ("embedding/loop.py", "ray", "only on_ray reaches Ray"),
        ("evaluation/metrics.py", "mlflow", "only reporting.mlflow_store reaches MLflow"),
        ("splits/assign.py", "torch", "config, datasets, splits and runs load without torch"),
    ],
)
def test_a_broken_contract_is_caught(copy: Path, module: str, forbidden: str, contract: str) -> None:
    path = copy / "reid_ray" / module
    path.write_text(path.read_text() + f"\nimport {forbidden}\n")
    checked = lint_imports(copy)
    assert checked.returncode == 1
    assert f"{contract} BROKEN" in checked.stdout

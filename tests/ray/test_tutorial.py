"""The tutorial goes from photos to answers, and what is kept of it is what it says."""

from pathlib import Path

import nbformat
import pytest
import ray
from nbclient import NotebookClient

from reid_ray.on_ray.cluster.session import Cluster

pytestmark = pytest.mark.ray

PATH = Path(__file__).parents[2] / "reports" / "tutorial.ipynb"
MOST_BYTES = 300_000


def text_of(notebook: nbformat.NotebookNode) -> str:
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    return "\n".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in outputs)


def test_the_tutorial_runs_and_names_photos(running_ray: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    notebook = nbformat.read(PATH, 4)
    kept = text_of(notebook)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute()  # raises what a cell raises
    for sentence in ("Nothing has to be mended.", "Best on seen animals:", "photos were given a name"):
        assert sentence in text_of(notebook)
        assert sentence in kept


def test_its_outputs_are_kept_small_and_without_complaints() -> None:
    notebook = nbformat.read(PATH, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {out.get("name", "") for cell in code for out in cell.outputs} <= {"", "stdout"}
    assert PATH.stat().st_size < MOST_BYTES

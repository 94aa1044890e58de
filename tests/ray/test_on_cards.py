"""Where Ray puts trainings: whole on one node, one a card; and what it says where it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def study_on_cards(folder: Path, *, cpus_per_worker: int, cuda: str) -> dict[str, Any]:
    """What a study came to on two nodes of two CPUs and one stand-in for a card each."""
    script = Path(__file__).with_name("on_cards.py")
    ended = subprocess.run(
        [sys.executable, str(script), str(folder), str(cpus_per_worker), cuda],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


def test_a_worker_that_fits_the_sum_and_no_node_is_refused(tmp_path: Path) -> None:
    found = study_on_cards(tmp_path, cpus_per_worker=3, cuda="pretended")
    assert found["kind"] == "ResourceError"
    assert "a worker needs 3 CPUs and 1 GPUs on one node" in found["error"]
    assert "has 2 CPUs and 1 GPUs" in found["error"]
    assert not (tmp_path / "given.txt").exists()


def test_each_card_has_one_training_at_a_time_and_both_have_some(tmp_path: Path) -> None:
    found = study_on_cards(tmp_path, cpus_per_worker=1, cuda="pretended")
    assert found["failed"] == {}
    trials = [(began, ended) for kind, began, ended in found["methods"].values() if kind == "trial"]
    assert len(trials) == 4
    assert "SIFT" in found["methods"]
    for began, _ in trials:
        assert sum(start <= began < end for start, end in trials) <= 2
    given = {line.split()[0]: line.split()[1] for line in (tmp_path / "given.txt").read_text().splitlines()}
    assert len(given) == 2  # nodes
    assert set(given.values()) == {"[0]"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_card_without_cuda_is_told_with_its_node_and_nothing_trains_on_the_cpu(tmp_path: Path) -> None:
    found = study_on_cards(tmp_path, cpus_per_worker=1, cuda="missing")
    assert len(found["failed"]) == 4
    assert all(
        "finds no CUDA there" in note and "Ray gave GPU 0" in note for note in found["failed"].values()
    )

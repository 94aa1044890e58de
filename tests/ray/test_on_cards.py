"""Where Ray puts trainings: whole on one node, one a card; and what it says where it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def on_cards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """What studies came to on two nodes of two CPUs and one stand-in for a card each, and their folder."""
    folder = tmp_path_factory.mktemp("cards")
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("on_cards.py")), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return folder, json.loads(ended.stdout.splitlines()[-1])


def test_a_worker_that_fits_the_sum_and_no_node_is_refused(on_cards: tuple[Path, dict[str, Any]]) -> None:
    folder, found = on_cards[0] / "large", on_cards[1]["too large"]
    assert found["kind"] == "ResourceError"
    assert "a worker needs 3 CPUs and 1 GPUs on one node" in found["error"]
    assert "has 2 CPUs and 1 GPUs" in found["error"]
    assert not (folder / "given.txt").exists()


def test_each_card_has_one_training_at_a_time_and_both_have_some(
    on_cards: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = on_cards[0] / "pretended", on_cards[1]["pretended"]
    assert found["failed"] == {}
    trials = [(began, ended) for kind, began, ended in found["methods"].values() if kind == "trial"]
    assert len(trials) == 4
    assert "SIFT" in found["methods"]
    for began, _ in trials:
        assert sum(start <= began < end for start, end in trials) <= 2
    given = {line.split()[0]: line.split()[1] for line in (folder / "given.txt").read_text().splitlines()}
    assert len(given) == 2  # nodes
    assert set(given.values()) == {"[0]"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here")
def test_a_card_without_cuda_is_told_with_its_node_and_nothing_trains_on_the_cpu(
    on_cards: tuple[Path, dict[str, Any]],
) -> None:
    failed = on_cards[1]["without CUDA"]["failed"]
    assert len(failed) == 4
    assert all("finds no CUDA there" in note and "Ray gave GPU 0" in note for note in failed.values())

"""A network that a study trains is asked among the candidates that the study asks for."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.tune import Study
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.methods.bench import InProcess
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.scorer import EmbeddingScorer
from reid_ray.studies.planning import StudyPlan, confirmation, plan_study
from reid_ray.studies.trial import Trained


def rows_at(*places: str) -> pd.DataFrame:
    """Two animals; the last photo is a query."""
    count = len(places)
    split = ["reference"] * (count - 1) + ["query"]
    texts = {name: [f"{name}{n}" for n in range(count)] for name in ("key", "image_id", "content")}
    table = pd.DataFrame({**texts, "identity": [str(n % 2) for n in range(count)], "location": places})
    return table.assign(dataset="d", group="d", domain="seen", split=split, validation=False)


def planned(rows: pd.DataFrame, **candidates: str) -> StudyPlan:
    raw = {
        "name": "s",
        "data": {"datasets": [{"source": "folder", "name": "d", "root": "photos"}]},
        "grid": {"backbones": ["test_resnet"]},
        "training": {"weights": "random"},
        "candidates": candidates,
    }
    return plan_study(Study.parse(raw, where="test"), rows)


def test_the_rule_is_that_of_every_training_and_new_places_are_new_work() -> None:
    here, there = rows_at("a", "a", "b", "b"), rows_at("a", "b", "b", "b")
    plain, placed = planned(here), planned(here, location="only")
    assert {one.sets for one in placed.trials} == {CandidateSets(location="only")}
    assert confirmation(placed.trials[0], workers=2).sets == CandidateSets(location="only")
    assert plain.trials[0].key != placed.trials[0].key
    assert placed.digest != planned(there, location="only").digest
    assert plain.digest == planned(there).digest


def test_a_trained_network_finds_no_photo_of_another_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vectors = np.array([[1, 0], [0, 1], [1, 1], [1, 0]], np.float32)
    monkeypatch.setattr(Trained, "scorer", lambda *_: EmbeddingScorer.of(vectors))
    gallery = Gallery.of(rows_at("a", "b", "a", "b"), np.arange(3), np.array([3]), name="d")
    nobody = torch.nn.Identity()
    images = PreparedImages.pack([])
    for sets, expected in ((CandidateSets(), [0, 2, 1]), (CandidateSets(location="only"), [1, -1, -1])):
        network = Trained(nobody, images, 32, torch.device("cpu"), sets)  # type: ignore[arg-type]
        bench = InProcess(images, tmp_path)
        (ready,) = network.prepare([gallery], bench)
        assert ready.rank(bench, gallery.queries, k=3)[0].top_index.tolist() == [expected]

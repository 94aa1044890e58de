"""Fusions and shortlists on Ray: a second start repeats nothing, and what is fitted is on references."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
from matched import Given, release, run_one
from test_matching import CONFIG, photos

from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import MatchedShortlist, Shortlist
from reid_ray.errors import DatasetError
from reid_ray.evaluation.fusion import Fused
from reid_ray.methods import fusion, local_features
from reid_ray.methods.answer import Answered
from reid_ray.methods.fusion import Fusing, FusionScorer
from reid_ray.methods.local_features import LocalFeatures
from reid_ray.methods.shortlist import Shortlisted
from reid_ray.on_ray.actors import pool as matching_actors
from reid_ray.on_ray.cluster.session import cluster

pytestmark = pytest.mark.ray

BOTH = Fusion(parts=("SIFT", "vectors"))


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    with nullcontext() if ray.is_initialized() else cluster():
        yield
        release()


def table() -> pd.DataFrame:
    """`photos` of two datasets, of which the first has validation photos."""
    rows = photos()[1]
    rows["validation"] = (np.arange(len(rows)) % 6 == 3) & (rows["dataset"] == "one")
    return rows.drop(columns="encounter")


def vectors(rows: pd.DataFrame, *, trained: bool = False) -> Given:
    """Noise that knows a little of the animals."""
    rng = np.random.default_rng(5)
    animals = pd.factorize(rows["dataset"] + rows["identity"])[0]
    own = rng.normal(size=(animals.max() + 1, 8))[animals]
    found = own + rng.normal(size=own.shape)
    return Given.of(found.astype(np.float32), trained=trained)


def run(
    study: Path, config: Fusion, rows: pd.DataFrame, *, embedded: Given | None = None, **changes: Any
) -> tuple[Answered, dict[str, Any]]:
    near = changes.pop("shortlist", None)
    parts = (LocalFeatures(CONFIG, share_scores=True), embedded or vectors(rows))
    folders = (study / "methods" / "sift", None)
    method = Fusing(config, parts, near, part_folders=folders)
    return run_one(study, photos()[0], rows, method, name=config.name, k=4, **changes)


def fused_of(found: Answered) -> dict[str, Fused]:
    scorers = {one.gallery.name: one.scorer for one in found.ready}
    return {
        name: scorer.fused
        for name, scorer in scorers.items()
        if isinstance(scorer, FusionScorer) and scorer.fused is not None
    }


def test_a_second_start_repeats_nothing_and_gives_the_same_table(
    started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fusion, local_features):
        monkeypatch.setattr(module, "PAIRS_PER_REQUEST", 60)
    rows, told = table(), []
    first, _ = run(tmp_path, BOTH, rows, progress=lambda done, _: told.append(done))
    assert told[-1] == 10 * 20 + 8 * 16
    kept = sorted(tmp_path.glob("methods/fused/chunks/*/*.npz"))
    ranked = [path for path in kept if path.name.startswith("ranked-")]
    ranked[1].write_bytes(ranked[1].read_bytes()[:50])
    asked: list[str] = []
    pool_run = matching_actors.Pool.run

    def watched(self: matching_actors.Pool, requests: dict[str, Any], *shared: Any) -> Any:
        asked.extend(requests)
        return pool_run(self, requests, *shared)

    monkeypatch.setattr(matching_actors.Pool, "run", watched)
    again, _ = run(tmp_path, BOTH, rows)
    pd.testing.assert_frame_equal(again.predictions, first.predictions)
    assert [name for name in asked if name.startswith(("ranked", "pairs", "tuning"))] == [ranked[1].stem]


def test_joined_answers_are_probabilities_and_no_worse_than_the_parts_here(
    started: None, tmp_path: Path
) -> None:
    rows = table()
    found = run(tmp_path, BOTH, rows)[0].predictions
    best = np.array([scores[0] for scores in found["top_scores"]])
    assert ((best > 0) & (best < 1)).all()
    local = run_one(tmp_path, photos()[0], rows, CONFIG, name="alone", k=4)[0].predictions
    assert found["query"].tolist() == local["query"].tolist()
    assert found["correct"].mean() >= local["correct"].mean() > 0.5


def test_new_animals_are_told_by_a_threshold_that_comes_from_references_alone(
    started: None, tmp_path: Path
) -> None:
    rows = table()
    two_animals = rows.loc[rows["dataset"] == "one", "identity"].unique()[:2]
    unknown = rows["dataset"].eq("one") & rows["identity"].isin(two_animals)
    rows.loc[unknown & rows["split"].eq("reference"), "split"] = "neither"
    embedded = vectors(table())
    noise = embedded.vectors.copy()
    noise[rows["split"] == "query"] = np.random.default_rng(9).normal(size=8)
    found = run(tmp_path / "a", BOTH, rows, embedded=embedded)[0].predictions
    other = run(tmp_path / "b", BOTH, rows, embedded=Given.of(noise))[0].predictions
    by_dataset = found.groupby("dataset")["threshold"]
    assert by_dataset.nunique().to_dict() == {"one": 1, "two": 0}  # `two` has no unknown individuals
    threshold = float(by_dataset.first()["one"])
    assert 0 < threshold < 1
    assert other.loc[other["dataset"] == "one", "threshold"].unique().tolist() == [threshold]
    # Strangers are more often below it than the known are.
    best = np.array([scores[0] for scores in found["top_scores"]])
    below, known = best < threshold, found["known"].to_numpy(bool)
    assert below[~known].mean() > below[known].mean()


def test_of_a_trained_part_only_validation_photos_are_looked_up(started: None, tmp_path: Path) -> None:
    rows = table()
    embedded = vectors(rows, trained=True)
    # Dataset `two` has no validation photo, so nothing of it may be fitted on: it borrows.
    done, _ = run(tmp_path, BOTH, rows, embedded=embedded)
    one, two = (fused_of(done)[name].curves[0] for name in ("one", "two"))
    assert one.pairs == 5 * 15
    assert one.same == 5 * 3
    assert two.pairs == one.pairs
    none = rows.assign(validation=False)
    with pytest.raises(DatasetError, match="nothing to fit on"):
        run(tmp_path / "none", BOTH, none, embedded=embedded)


@pytest.mark.parametrize("by", ["vlad", "vectors"])
def test_behind_a_shortlist_only_its_candidates_get_a_probability(
    started: None, tmp_path: Path, by: str
) -> None:
    rows = table()
    config = BOTH.model_copy(update={"shortlist": Shortlist(by=by, size=3)})
    near = vectors(rows) if by == "vectors" else None
    found, params = run(tmp_path, config, rows, shortlist=near)
    for scores in found.predictions["top_scores"]:
        assert min(scores[:3]) > 0
        assert scores[3] == -1
    assert params["pairs"] == 18 * 3
    for fused in fused_of(found).values():
        assert fused.curves[0].pairs <= 20 * 3


def test_a_shortlisted_method_measures_its_own_curve(started: None, tmp_path: Path) -> None:
    rows = table()
    shortlist = MatchedShortlist(by="vectors", size=4, curve="all")
    config = CONFIG.model_copy(update={"shortlist": shortlist})
    method = Shortlisted(LocalFeatures(config), vectors(rows))
    done, params = run_one(tmp_path, photos()[0], rows, method, name="few", k=20)
    among = [done.metrics[f"shortlist/one/among_{size}"] for size in (1, 2, 5, 10, 20)]
    assert among == sorted(among)
    assert among[-1] == 1
    # The embedding's first alone is what a list of one answers.
    assert done.metrics["shortlist/one/top1_1"] == among[0]
    assert params["candidates"] == 4
    again, params = run_one(tmp_path, photos()[0], rows, method, name="few", k=20)
    pd.testing.assert_frame_equal(again.predictions, done.predictions)
    assert again.metrics == done.metrics
    assert "pairs_per_second" not in params

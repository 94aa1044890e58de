"""Fusions and shortlists on Ray: nothing of a query decides, and a second start repeats nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
from reid_ray.on_ray.fusion import FusionParts, Joined, LocalMethod, run_fusion
from reid_ray.on_ray.matching import run_matching
from reid_ray.on_ray.vectors import Embedded
from test_matching import CONFIG, photos

from reid_ray.config.fusion import Fusion
from reid_ray.config.matching import MatchedShortlist, Shortlist
from reid_ray.errors import DatasetError
from reid_ray.on_ray import fusion, matching_sides
from reid_ray.on_ray.actors import pool as matching_actors
from reid_ray.on_ray.cluster.session import cluster
from reid_ray.runs import files
from reid_ray.runs.methods import MethodFolder

pytestmark = pytest.mark.ray

BOTH = Fusion(parts=("SIFT", "vectors"))


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    with cluster():
        yield


def table() -> pd.DataFrame:
    """`photos` of two datasets, of which the first has validation photos."""
    rows = photos()[1]
    rows["validation"] = (np.arange(len(rows)) % 6 == 3) & (rows["dataset"] == "one")
    return rows.drop(columns="encounter")


def vectors(rows: pd.DataFrame, *, trained: bool = False) -> Embedded:
    """Noise that knows a little of the animals."""
    rng = np.random.default_rng(5)
    animals = pd.factorize(rows["dataset"] + rows["identity"])[0]
    own = rng.normal(size=(animals.max() + 1, 8))[animals]
    found = own + rng.normal(size=own.shape)
    return Embedded(found.astype(np.float32), ("one", "two"), trained)


def run(study: Path, config: Fusion, rows: pd.DataFrame, **changes: Any) -> Joined:
    images = ray.put(photos()[0])
    local = LocalMethod(CONFIG, MethodFolder(study / "methods" / "sift"))
    parts = FusionParts((local, changes.pop("embedded", None) or vectors(rows)))
    parts = replace(parts, **{k: changes.pop(k) for k in list(changes) if k == "shortlist"})
    folder = MethodFolder(study / "methods" / config.name)
    return run_fusion(images, rows, config, parts, folder, actors=1, k=4, **changes)


def test_query_photos_have_no_part_in_what_is_fitted(started: None, tmp_path: Path) -> None:
    rows = table()
    queries = rows["split"] == "query"
    changed = rows.copy()
    # Other names, and the vectors of other photos.
    changed.loc[queries, "identity"] = changed.loc[queries, "identity"].to_numpy()[::-1]
    embedded = vectors(rows)
    noise = embedded.vectors_nd.copy()
    noise[queries.to_numpy()] = np.random.default_rng(9).normal(size=(int(queries.sum()), 8))
    config = BOTH.model_copy(update={"weights": "chosen"})
    run(tmp_path / "a", config, rows, embedded=embedded)
    run(tmp_path / "b", config, changed, embedded=replace(embedded, vectors_nd=noise))
    fitted = [files.read_json(tmp_path / one / "methods/fused/fusion.json") for one in "ab"]
    assert fitted[0] == fitted[1]
    assert fitted[0]["datasets"]["two"]["curves"][0]["same"] == 16 * 3


def test_a_second_start_repeats_nothing_and_gives_the_same_table(
    started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (fusion, matching_sides):
        monkeypatch.setattr(module, "PAIRS_PER_CHUNK", 60)
    rows, told = table(), []
    first = run(tmp_path, BOTH, rows, progress=lambda done, total, _: told.append((done, total)))
    assert told[-1] == (10 * 20 + 8 * 16,) * 2
    kept = sorted(tmp_path.glob("methods/fused/chunks/*/*.npz"))
    ranked = [path for path in kept if path.name.startswith("ranked-")]
    ranked[1].write_bytes(ranked[1].read_bytes()[:50])
    asked: list[str] = []
    pool_run = matching_actors.Pool.run

    def watched(self: matching_actors.Pool, calls: dict[str, Any]) -> Any:
        asked.extend(calls)
        return pool_run(self, calls)

    monkeypatch.setattr(matching_actors.Pool, "run", watched)
    again = run(tmp_path, BOTH, rows)
    pd.testing.assert_frame_equal(again.predictions, first.predictions)
    assert [name for name in asked if not name.startswith("features-")] == [ranked[1].stem]


def test_joined_answers_are_probabilities_and_no_worse_than_the_parts_here(
    started: None, tmp_path: Path
) -> None:
    rows = table()
    found = run(tmp_path, BOTH, rows).predictions
    best = np.array([scores[0] for scores in found["top_scores"]])
    assert ((best > 0) & (best < 1)).all()
    local = run_matching(
        ray.put(photos()[0]), rows, CONFIG, MethodFolder(tmp_path / "methods/alone"), actors=1, k=4
    ).predictions
    assert found["query"].tolist() == local["query"].tolist()
    assert found["correct"].mean() >= local["correct"].mean() > 0.5


def test_new_animals_are_told_by_a_threshold_that_comes_from_references_alone(
    started: None, tmp_path: Path
) -> None:
    rows = table()
    two_animals = rows.loc[rows["dataset"] == "one", "identity"].unique()[:2]
    strangers = rows["dataset"].eq("one") & rows["identity"].isin(two_animals)
    rows.loc[strangers & rows["split"].eq("reference"), "split"] = "neither"
    embedded = vectors(table())
    noise = embedded.vectors_nd.copy()
    noise[rows["split"] == "query"] = np.random.default_rng(9).normal(size=8)
    found = run(tmp_path / "a", BOTH, rows, embedded=embedded).predictions
    other = run(tmp_path / "b", BOTH, rows, embedded=replace(embedded, vectors_nd=noise)).predictions
    by_dataset = found.groupby("dataset")["threshold"]
    assert by_dataset.nunique().to_dict() == {"one": 1, "two": 0}  # `two` has no new animals
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
    done = run(tmp_path, BOTH, rows, embedded=embedded)
    one, two = (done.fused[name].curves[0] for name in ("one", "two"))
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
    found = run(tmp_path, config, rows, shortlist=near)
    for scores in found.predictions["top_scores"]:
        assert min(scores[:3]) > 0
        assert scores[3] == -1
    assert found.params["pairs"] == 18 * 3
    for fused in found.fused.values():
        assert fused.curves[0].pairs <= 20 * 3


def test_a_shortlisted_method_measures_its_own_curve(started: None, tmp_path: Path) -> None:
    rows = table()
    shortlist = MatchedShortlist(by="vectors", size=4, curve="all")
    config = CONFIG.model_copy(update={"shortlist": shortlist})
    folder = MethodFolder(tmp_path / "methods" / "few")
    arguments: dict[str, Any] = {"actors": 1, "k": 20, "embedded": vectors(rows)}
    done = run_matching(ray.put(photos()[0]), rows, config, folder, **arguments)
    among = [done.metrics[f"shortlist/one/among_{size}"] for size in (1, 2, 5, 10, 20)]
    assert among == sorted(among)
    assert among[-1] == 1
    own = done.predictions[done.predictions["dataset"] == "one"]
    # The embedding's first alone is what a list of one answers.
    assert done.metrics["shortlist/one/top1_1"] == among[0]
    assert done.params["candidates"] == 4
    again = run_matching(ray.put(photos()[0]), rows, config, folder, **arguments)
    pd.testing.assert_frame_equal(again.predictions, done.predictions)
    assert again.metrics == done.metrics
    assert "pairs_per_second" not in again.params
    assert len(own) == 10

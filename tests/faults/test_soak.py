"""A study whose processes are killed and halted until it is done has the undisturbed figures."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from disturbed import Disturbed
from faulty import Record

from reid_ray.reporting.mlflow_store import KEY, Store
from reid_ray.runs.methods import Result
from reid_ray.runs.study import StudyFolder

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

EPOCHS = 12
MOST_HITS = int(os.environ.get("SOAK_KILLS", "15"))
FIRST_SEED = int(os.environ.get("FAULT_SEED", "0"))
SEEDS = range(FIRST_SEED, FIRST_SEED + int(os.environ.get("SOAK_SEEDS", "1")))


def config(folder: Path) -> Path:
    """Like the quickstart, smaller: three synthetic collections, four trials, SIFT, a fusion, the selected
    trial again under DDP."""
    synthetic = {"source": "synthetic", "identities": 6, "photos": 8, "size_px": 96}
    names = ("zebra", "leopard", "giraffe")
    study = {
        "name": "soak",
        "data": {
            "datasets": [{**synthetic, "name": name, "species": name} for name in names],
            "unseen": ["giraffe"],
            "images": {"short_px": 96},
        },
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.1],
            "arcface": {"margins_rad": [0.1, 0.25], "scales": [16.0]},
            "triplet": {"minings": ["semi", "all"], "margins": [0.2]},
        },
        "training": {
            "weights": "random",
            "input_px": 64,
            "epochs": EPOCHS,
            "batch_size": 16,
            "checkpoint_every_s": 0.0,
        },
        "baselines": {"matching": [{"name": "SIFT"}]},
        "fusion": [{"parts": ["SIFT", "selected_trial"]}],
        "storage": str(folder / "runs"),
        "reports": str(folder / "reports"),
    }
    folder.mkdir()
    path = folder / "soak.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def results(folder: Path) -> dict[str, Result]:
    record = StudyFolder(folder / "runs" / "soak").load()
    return {method.result.key: method.result for method in record.methods}


def leaderboard(folder: Path) -> pd.DataFrame:
    """Without what the machine's speed decides."""
    table = pd.read_csv(folder / "reports" / "soak" / "leaderboard.csv").drop(columns="seconds")
    table["params"] = table["params"].str.replace(r", pairs_per_second=[0-9.]+", "", regex=True)
    return table


def answers(folder: Path, key: str) -> pd.DataFrame:
    found = StudyFolder(folder / "runs" / "soak").method(key).predictions()
    assert found is not None
    return found


def rows_of(folder: Path) -> dict[str, list[dict[str, float]]]:
    """What MLflow has of each method: the figures of every run of that key."""
    store = Store.existing(f"sqlite:///{folder / 'runs' / 'mlflow.db'}", "soak")
    found: dict[str, list[dict[str, float]]] = {}
    for run in store.runs():
        assert run.info.status == "FINISHED"
        found.setdefault(run.data.tags[KEY], []).append(dict(run.data.metrics))
    return found


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study, to which nothing is done."""
    folder = tmp_path_factory.mktemp("soak") / "calm"
    study = Disturbed(folder, config(folder), np.random.default_rng(0))
    study.run(most_hits=0)
    assert study.epochs_again() == 0
    return folder


@pytest.mark.parametrize("seed", SEEDS)
def test_a_study_whose_processes_are_killed_until_it_is_done_has_the_undisturbed_figures(
    seed: int, calm: Path, record: Record
) -> None:
    wild = calm.parent / f"wild-{seed}"
    study = Disturbed(wild, config(wild), np.random.default_rng(seed))
    study.run(most_hits=MOST_HITS)
    again = study.epochs_again()
    print(f"\nseed {seed}: {dict(study.hits)}; {again} epochs trained again")
    assert study.hits.total() > MOST_HITS // 2, "it was done before it had been hit so often"
    assert study.again == []

    expected, found = results(calm), results(wild)
    assert set(found) == set(expected)
    for key, result in expected.items():
        assert (found[key].kind, found[key].status) == (result.kind, "finished"), found[key].note
        if result.kind == "confirmation":  # under DDP sums are rounded as they happen to come
            assert set(found[key].metrics) == set(result.metrics)
            continue
        assert found[key].metrics == result.metrics, result.method
        if result.family != "chance":
            pd.testing.assert_frame_equal(answers(wild, key), answers(calm, key))
    pd.testing.assert_frame_equal(leaderboard(wild), leaderboard(calm))

    rows = rows_of(wild)
    assert Counter({key: len(runs) for key, runs in rows.items()}) == Counter([*expected, "summary-soak"])
    for key, result in found.items():
        assert rows[key][0].items() >= result.metrics.items()

    for hit, times in sorted(study.hits.items()):
        record(f"{hit} in a whole study", "at random times", tried=times, survived=times, trials=0, doubled=0)
    record(
        "a study that is hit again and again until it is done",
        f"up to {MOST_HITS} random hits each, every few seconds",
        tried=1,
        survived=1,
        epochs=again,
        trials=len(study.again),
        doubled=0,
    )

"""Matching on Ray gives the plain loop's answers, also after actors and drivers were killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import ray
from matched import release, run_one

from reid_ray.config.matching import Disk, LightGlue, Matching, Sift, SuperPoint, Verify
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.errors import TrialError, WeightsError
from reid_ray.evaluation.ranking import rank_block
from reid_ray.matching import sift
from reid_ray.matching.engine import Packed, count_block
from reid_ray.methods import local_features
from reid_ray.on_ray.actors import pool as matching_actors
from reid_ray.on_ray.cluster.session import cluster

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))
from faulty import write_record

pytestmark = pytest.mark.ray

CONFIG = Matching(extractor=Sift(max_keypoints=60), thresholds=(0.5, 0.7, 0.9))


@pytest.fixture(scope="module")
def started() -> Iterator[None]:
    with nullcontext() if ray.is_initialized() else cluster():
        yield
        release()


def photos(noise: float = 25) -> tuple[PreparedImages, pd.DataFrame]:
    """Two datasets of five and four animals, six noisy photos each; two of each six are queries."""
    rng = np.random.default_rng(0)
    images, rows = [], []
    for dataset, animals in [("one", 5), ("two", 4)]:
        for animal in range(animals):
            coat = rng.integers(0, 256, (16, 18, 3), dtype=np.uint8)
            coat = cv2.resize(coat, (108, 96), interpolation=cv2.INTER_CUBIC)
            for photo in range(6):
                spoilt = coat + rng.normal(0, noise, coat.shape)
                images.append(np.clip(spoilt, 0, 255).astype(np.uint8))
                rows.append((f"{dataset}/{animal}-{photo}", dataset, str(animal), photo // 2))
    table = pd.DataFrame(rows, columns=["key", "dataset", "identity", "encounter"])
    table["split"] = np.where(np.arange(len(table)) % 3 == 1, "query", "reference")
    table["group"], table["domain"] = table["dataset"], "seen"
    table["encounter"] = table["identity"] + "-" + table["encounter"].astype(str)
    return PreparedImages.pack(images), table


@pytest.fixture(scope="module")
def expected() -> pd.DataFrame:
    """What a loop without Ray finds."""
    images, rows = photos()
    found = []
    for dataset in ("one", "two"):
        own = np.flatnonzero(rows["dataset"] == dataset)
        packed = Packed.of(sift.extract([images[int(i)] for i in own], Sift(max_keypoints=60)))
        names = rows["identity"].to_numpy(str)[own]
        is_query = rows["split"].to_numpy(str)[own] == "query"
        q, g = np.flatnonzero(is_query), np.flatnonzero(~is_query)
        leave = count_block(packed.take(g), 0, len(g), packed.take(g), CONFIG.thresholds)
        leave[np.arange(len(g)), np.arange(len(g))] = -1
        best = leave == leave.max(axis=1, keepdims=True)
        right = (best & (names[g][:, None] == names[g][None])[:, :, None]).sum(1) / best.sum(1)
        threshold = CONFIG.thresholds[int(np.argmax(np.round(right.sum(0), 9)))]
        scores = count_block(packed.take(q), 0, len(q), packed.take(g), [threshold])[:, :, 0]
        ranked = rank_block(scores, names[q], names[g], k=3)
        keys = rows["key"].to_numpy(str)[own]
        for row in range(len(q)):
            found.append((keys[q[row]], list(keys[g][ranked.top_index[row]]), ranked.first_correct[row]))
    return pd.DataFrame(found, columns=["query", "top_keys", "first_correct"])


def run(
    tmp_path: Path, config: Matching = CONFIG, noise: float = 25, **changes: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    images, rows = photos(noise)
    found, params = run_one(tmp_path, images, rows, config, **changes)
    return found.predictions, params


def same_answers(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    assert found["query"].tolist() == expected["query"].tolist()
    assert found["top_keys"].tolist() == expected["top_keys"].tolist()
    assert found["first_correct"].tolist() == expected["first_correct"].tolist()


def test_answers_are_those_of_a_plain_loop_and_progress_reaches_the_total(
    started: None, tmp_path: Path, expected: pd.DataFrame
) -> None:
    told: list[int] = []
    found, params = run(tmp_path, progress=lambda done, _: told.append(done))
    same_answers(found, expected)
    assert found["correct"].mean() > 0.5
    assert told[-1] == params["pairs"] == 10 * 20 + 8 * 16
    assert set(params) >= {"threshold/one", "threshold/two", "keypoints_per_photo", "pairs_per_second"}


def test_a_second_start_reads_chunks_and_makes_damaged_ones_again(
    started: None, tmp_path: Path, expected: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_features, "PAIRS_PER_REQUEST", 40)
    run(tmp_path)
    kept = sorted(tmp_path.glob("methods/a/chunks/*/ranked-*.npz"))
    assert len(kept) == 5 + 4
    kept[3].write_bytes(kept[3].read_bytes()[:40])
    kept[5].unlink()
    asked: list[str] = []
    pool_run = matching_actors.Pool.run

    def watched(self: matching_actors.Pool, requests: dict[str, Any], *shared: Any) -> Any:
        asked.extend(requests)
        return pool_run(self, requests, *shared)

    monkeypatch.setattr(matching_actors.Pool, "run", watched)
    found, _ = run(tmp_path)
    same_answers(found, expected)
    assert len([name for name in asked if name.startswith("ranked-")]) == 2
    assert not any(name.startswith("tuning-") for name in asked)


ALL_PAIRS = 10 * 20 + 8 * 16


def tell_pairs(patch: pytest.MonkeyPatch, log: Path) -> None:
    """Write down, call by call, how many pairs are given out to be ranked."""
    fill = matching_actors.Pool._fill

    def watched(
        self: matching_actors.Pool, requests: dict[str, Any], shared: tuple[Any, ...], *args: Any
    ) -> None:
        given = {ref for worker in self.workers for ref in worker.calls}
        fill(self, requests, shared, *args)
        for worker in self.workers:
            for ref, name in worker.calls.items():
                if ref not in given and name.startswith("ranked-"):
                    pairs = len(requests[name].asked) * ray.get(shared[1]).references
                    with log.open("a") as file:
                        file.write(f"{pairs}\n")

    patch.setattr(matching_actors.Pool, "_fill", watched)


def pairs_again(log: Path) -> int:
    return sum(map(int, log.read_text().split())) - ALL_PAIRS


def test_killed_actors_are_replaced_and_change_nothing(
    started: None, tmp_path: Path, expected: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_features, "PAIRS_PER_REQUEST", 20)
    tell_pairs(monkeypatch, tmp_path / "pairs")
    kills = iter(range(3))
    fill = matching_actors.Pool._fill

    def deadly(self: matching_actors.Pool, *args: Any) -> None:
        fill(self, *args)
        busy = [w for w in self.workers if not w.lost and "ranked" in "".join(w.calls.values())]
        if busy and next(kills, None) is not None:
            ray.kill(busy[0].actor)

    monkeypatch.setattr(matching_actors.Pool, "_fill", deadly)
    found, _ = run(tmp_path)
    assert next(kills, None) is None
    same_answers(found, expected)
    again = pairs_again(tmp_path / "pairs")
    # What each actor had in hand, and nothing of what was finished.
    assert 0 < again <= 3 * matching_actors.OUTSTANDING * 20
    write_record(
        "SIGKILL of a matching actor",
        "three times in one method, while it ranks",
        tried=3,
        survived=3,
        pairs=again,
        trials=0,
    )


def test_a_chunk_that_kills_every_worker_is_given_up(
    started: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = matching_actors.Pool._fill

    def deadly(self: matching_actors.Pool, *args: Any) -> None:
        fill(self, *args)
        for worker in self.workers:
            if worker.calls and not worker.lost:
                ray.kill(worker.actor)

    monkeypatch.setattr(matching_actors.Pool, "_fill", deadly)
    with pytest.raises(TrialError, match="died 5 times"):
        run(tmp_path)


def test_an_error_of_the_work_itself_comes_back_as_it_was(started: None, tmp_path: Path) -> None:
    config = Matching(extractor=SuperPoint(kind="superpoint", weights="/nowhere.safetensors"))
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors: no such weights file"):
        run(tmp_path, config)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"per_identity": True, "normalised": True},
        {"score": "lnbnn", "neighbours": (1, 2)},
        {"verify": Verify(candidates=4)},
    ],
    ids=["count", "summed", "lnbnn", "verified"],
)
def test_answers_without_the_own_encounter_are_those_of_leaving_it_out(
    started: None, tmp_path: Path, change: dict[str, Any]
) -> None:
    _, rows = photos()
    encounter = dict(zip(rows["key"], rows["encounter"], strict=True))
    config = CONFIG.model_copy(update={"extractor": Sift(max_keypoints=20), **change})
    left_out = config.model_copy(update={"exclude_same_encounter": True})
    # So much noise that some answers are wrong.
    both, told = run(tmp_path / "both", config, noise=200)
    alone, params = run(tmp_path / "alone", left_out, noise=200)

    def shared(table: pd.DataFrame) -> int:
        return sum(
            encounter[q] == encounter[top[0]]
            for q, top in zip(table["query"], table["top_keys"], strict=True)
        )

    assert shared(both) > 0
    assert shared(alone) == 0
    views = ["other_encounter_first_correct", "other_encounter_average_precision"]
    assert both[views[0]].tolist() == alone["first_correct"].tolist()
    assert both[views[1]].tolist() == alone["average_precision"].tolist()
    assert alone[views].to_numpy().tolist() == both[views].to_numpy().tolist()
    assert both["average_precision"].tolist() != both[views[1]].tolist()
    assert len(set(both[views[0]])) > 1
    for name, value in params.items():
        if name.startswith(("threshold", "neighbours", "leave_one_out")):
            what, dataset = name.split("/")
            assert told.get(f"{what}/other_encounter/{dataset}", told[name]) == value


def test_lightglue_puts_the_best_candidates_in_order(started: None, tmp_path: Path) -> None:
    kornia_feature = pytest.importorskip("kornia.feature")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    torch.save(kornia_feature.DISK().state_dict(), tmp_path / "disk.pth")
    torch.save(kornia_feature.LightGlue(None, input_dim=128).state_dict(), tmp_path / "glue.pth")
    look = LightGlue(model="lightglue", weights=str(tmp_path / "glue.pth"), candidates=2, least_score=0)
    config = Matching(
        extractor=Disk(kind="disk", weights=str(tmp_path / "disk.pth"), max_keypoints=20),
        thresholds=(0.8,),
        verify=look,
    )
    images, rows = photos()
    rows.loc[rows["dataset"] == "one", "split"] = "none"

    def ranked(name: str, config: Matching) -> tuple[pd.DataFrame, dict[str, Any]]:
        found, params = run_one(tmp_path, images, rows, config, name=name)
        return found.predictions, params

    found, params = ranked("again", config)
    plain, _ = ranked("plain", config.model_copy(update={"verify": None}))
    assert params["verify"] == "lightglue"
    for ours, theirs in zip(found["top_keys"], plain["top_keys"], strict=True):
        assert set(ours[:2]) == set(theirs[:2])
        assert ours[2] == theirs[2]
    assert max(scores[0] for scores in found["top_scores"]) >= 1
    missing = config.model_copy(update={"verify": look.model_copy(update={"weights": "/nowhere.pth"})})
    with pytest.raises(WeightsError, match=r"nowhere\.pth: no such weights file.*disk_lightglue"):
        ranked("missing", missing)


def test_extractor_and_votes_are_chosen_on_the_references_and_named(started: None, tmp_path: Path) -> None:
    # Of plain noise nothing is left above a contrast of 10, so the alternative must be chosen.
    config = Matching(
        extractor=Sift(contrast_threshold=10.0),
        alternatives=(Sift(max_keypoints=60),),
        score="lnbnn",
        neighbours=(1, 2),
    )
    found, params = run(tmp_path / "open", config)
    assert found["correct"].mean() > 0.5
    assert '"max_keypoints":60' in str(params["chosen_extractor/one"])
    fixed = Matching(
        extractor=Sift(max_keypoints=60),
        score="lnbnn",
        neighbours=(int(params["neighbours/two"]),),
        distances=(params["distance/two"],),
    )
    expected, _ = run(tmp_path / "fixed", fixed)
    same = found["dataset"] == "two"
    assert found[same]["top_keys"].tolist() == expected[same]["top_keys"].tolist()


def test_methods_with_the_same_extractor_take_features_once(
    started: None, tmp_path: Path, expected: pd.DataFrame
) -> None:
    images, rows = photos()
    changes: list[dict[str, Any]] = [
        {},
        {"mutual": True},
        {"extractor": Sift(root=True)},
        {"extractor": Sift()},
    ]
    for name, change in zip("abcd", changes, strict=True):
        config = CONFIG.model_copy(update=change)
        found, _ = run_one(tmp_path, images, rows, config, name=name)
        if name == "a":
            same_answers(found.predictions, expected)
            kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("features/*.npz")}
    assert len(kept) == 2  # of either dataset all photos together
    assert {p: p.stat().st_mtime_ns for p in tmp_path.glob("features/*.npz")} == kept


_DRIVER = """
import sys
from pathlib import Path
import pytest
sys.path.insert(0, {here!r})
import test_matching as t
from reid_ray.methods import local_features
from reid_ray.on_ray.cluster.session import cluster
local_features.PAIRS_PER_REQUEST = 20
t.tell_pairs(pytest.MonkeyPatch(), Path(sys.argv[1] + ".pairs"))
with cluster():
    table, _ = t.run(Path(sys.argv[1]))
table.to_parquet(sys.argv[2])
"""


@pytest.mark.release
def test_a_killed_driver_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    code = _DRIVER.format(here=str(Path(__file__).parent))

    def start(folder: str, table: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        return subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / folder), str(tmp_path / table)],
            env=environment,
            start_new_session=True,
        )

    killed = start("killed", "killed.parquet")
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "killed").glob("methods/a/chunks/*/ranked-*"))) < 3:
        assert killed.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    done = len(list((tmp_path / "killed").glob("methods/a/chunks/*/ranked-*.npz")))
    assert not (tmp_path / "killed.parquet").exists()
    assert done >= 3
    for folder in ("killed", "whole"):
        assert start(folder, f"{folder}.parquet").wait(timeout=180) == 0
    assert (tmp_path / "killed.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert pairs_again(tmp_path / "whole.pairs") == 0
    again = pairs_again(tmp_path / "killed.pairs")
    assert 0 <= again <= matching_actors.OUTSTANDING * 20
    write_record(
        "SIGKILL of the driver while it matches",
        "then the same start",
        tried=1,
        survived=1,
        pairs=again,
        trials=0,
    )


def test_the_threshold_of_new_animals_is_a_plain_loops(started: None, tmp_path: Path) -> None:
    images, rows = photos()
    new = rows["dataset"].eq("one") & rows["identity"].eq("4")
    rows.loc[new, "split"] = "query"
    config = Matching(extractor=Sift(max_keypoints=60), thresholds=(0.7,))
    table = run_one(tmp_path, images, rows, config)[0].predictions
    assert table.loc[table["dataset"] == "two", "threshold"].isna().all()
    g = np.flatnonzero(rows["dataset"].eq("one") & rows["split"].eq("reference"))
    packed = Packed.of(sift.extract([images[int(i)] for i in g], Sift(max_keypoints=60)))
    counts = count_block(packed, 0, len(g), packed, [0.7])[:, :, 0].astype(float)
    names, encounters = (rows[c].to_numpy(str)[g] for c in ("identity", "encounter"))
    counts[encounters[:, None] == encounters] = -1
    own = names[:, None] == names
    present, right = counts.max(axis=1), own[np.arange(len(g)), counts.argmax(axis=1)]
    withheld = np.where(own, -1, counts).max(axis=1)

    def worth(threshold: float) -> float:
        good = pd.DataFrame(
            {"baks": right & (present >= threshold), "baus": withheld < threshold, "name": names}
        )
        baks, baus = good.groupby("name").mean().mean()
        return float(baks * baus)

    chosen = float(table.loc[table["dataset"] == "one", "threshold"].iloc[0])
    best = max(worth(threshold) for threshold in np.arange(-0.25, counts.max() + 1, 0.25))
    assert worth(chosen) == pytest.approx(best)

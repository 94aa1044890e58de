"""AnimalCLEF's and WildlifeReID-10k's tables are read as they come; answers become a submission."""

import runpy
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from reid_ray.config.base import load
from reid_ray.config.datasets import Data
from reid_ray.config.identify import IdentifyRun
from reid_ray.config.named import find
from reid_ray.datasets.catalogue import load_rows
from reid_ray.errors import DatasetError
from reid_ray.splits.assign import assign

EXAMPLE = Path(__file__).parents[2] / "examples" / "animalclef_submission.py"
COLUMNS = ["image_id", "identity", "path", "date", "orientation", "species", "split", "dataset"]
LYNX, LIZARD = "LynxID2025", "TexasHornedLizards"


def rows_of(first: str, second: str, truth: bool = False) -> pd.DataFrame:
    """A lynx catalogue of two animals and its test part; lizards of which none is known."""
    rows = [(f"{LYNX}_lynx_{n % 2}", f"l{n}", first, LYNX) for n in range(6)]
    rows += [
        (f"{LYNX}_lynx_{who}" if truth else "", f"q{n}", second, LYNX) for n, who in enumerate([0, 0, 2, 2])
    ]
    rows += [(f"lizard_{who}" if truth else "", f"t{n}", second, LIZARD) for n, who in enumerate([0, 0, 1])]
    table = [
        (
            number,
            who,
            f"images/{dataset}/{split}/{file}.png",
            "2020-01-01",
            "left",
            dataset[:4],
            split,
            dataset,
        )
        for number, (who, file, split, dataset) in enumerate(rows)
    ]
    return pd.DataFrame(table, columns=COLUMNS)


def put(table: pd.DataFrame, root: Path, **how: bool) -> Path:
    """Its photos and metadata.csv."""
    for number, path in enumerate(table["path"]):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (number, 0, 0)).save(root / path)
    table.to_csv(root / "metadata.csv", index=False, **how)
    return root


def submit(found: Path, root: Path) -> tuple[pd.DataFrame, str]:
    command = [sys.executable, str(EXAMPLE), str(found), str(root)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return pd.read_csv(found / "submission.csv"), told


@pytest.mark.parametrize("words", [("train", "test"), ("database", "query")], ids=["2026", "2025"])
def test_known_and_new_photos_are_one_table(
    words: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(rows_of(*words), tmp_path / "animal-clef-2026")
    monkeypatch.setenv("COLLECTIONS", str(tmp_path))
    parts = zip(("reference", "query"), words, strict=True)
    run = load(IdentifyRun, find("identify", "animalclef_2026"), [f"{p}.where.split=[{w}]" for p, w in parts])
    loaded = load_rows(run.data(), made=tmp_path / "made")
    assert not len(loaded.quarantine)
    counts = loaded.rows.groupby(["dataset", "group", "identity"]).size().to_dict()
    assert counts == {
        ("train", LYNX, f"{LYNX}_lynx_0"): 3,
        ("train", LYNX, f"{LYNX}_lynx_1"): 3,
        ("test", LYNX, "unknown"): 4,
        ("test", LIZARD, "unknown"): 3,
    }


def test_wildlifereid_10k_has_no_ids_and_its_own_split(tmp_path: Path) -> None:
    put(rows_of("train", "test", truth=True).drop(columns="image_id"), tmp_path)
    given = {"source": "table", "name": "WildlifeReID-10k", "root": str(tmp_path), "group_by": "dataset"}
    split = {"kind": "given", "validation_share": 0.0, "unknown_individuals": True}
    data = Data.parse({"datasets": [given], "split": split}, where="test")
    rows = assign(load_rows(data, made=tmp_path / "made").rows, data.split).rows
    assert rows.groupby(["group", "split"]).size().to_dict() == {
        (LYNX, "query"): 4,
        (LYNX, "reference"): 6,
        (LIZARD, "query"): 3,
    }


def test_a_filter_that_keeps_nothing_says_what_is_there(tmp_path: Path) -> None:
    put(rows_of("train", "test"), tmp_path)
    given = {"source": "table", "name": "a", "root": str(tmp_path)}
    for where, said in (
        ({"split": ["nope"]}, "found .'train', 'test'"),
        ({"nope": ["1"]}, "no column .'nope'"),
    ):
        data = Data.parse({"datasets": [given | {"where": where}]}, where="test")
        with pytest.raises(DatasetError, match=said):
            load_rows(data, made=tmp_path / "made")


def test_clusters_are_known_animals_and_groups_of_unknown_ones_by_species(tmp_path: Path) -> None:
    truth = rows_of("train", "test", truth=True)
    put(truth, tmp_path)
    test = truth[truth["split"].eq("test")]
    # The third lynx is said to be in a group with the lizards, the fourth to be of no group.
    said = [
        f"{LYNX}_lynx_0",
        f"{LYNX}_lynx_0",
        "unknown 1",
        "unknown",
        "unknown 1",
        "unknown 1",
        f"{LYNX}_lynx_0",
    ]
    pd.DataFrame({"path": test["path"], "answer": said}).to_csv(tmp_path / "answers.csv", index=False)
    table, told = submit(tmp_path, tmp_path)
    assert list(table) == ["image_id", "cluster"]
    assert table["image_id"].tolist() == list(range(6, 13))
    lynx, lizard = f"cluster_{LYNX}_", f"cluster_{LIZARD}_"
    numbers = [lynx + "0", lynx + "0", lynx + "1", lynx + "2", lizard + "0", lizard + "0", lizard + "1"]
    assert table["cluster"].tolist() == numbers
    # By hand: pairs together in both 1, in the truth 2, in the answer 1, of 6: (1 - 2/6) / (3/2 - 2/6).
    assert f"{LYNX}: adjusted Rand index {(1 - 2 / 6) / (1.5 - 2 / 6):.4f}" in told
    assert f"{LIZARD}: adjusted Rand index 1.0000" in told
    assert adjusted_rand_score([0, 0, 2, 2], [0, 0, 1, 2]) == pytest.approx(4 / 7)


def test_a_submission_tells_no_index_where_nobody_is_named(tmp_path: Path) -> None:
    rows = runpy.run_path(str(EXAMPLE))
    assert rows["agreement"](rows_of("train", "test").iloc[6:].assign(cluster="c")) == {}

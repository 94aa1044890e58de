"""Encounters: read off names, distinguished by dataset, never equal where unknown."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Data, EncounterFrom
from reid_ray.datasets.catalogue import load_rows
from reid_ray.datasets.encounters import derive_encounters, encounter_codes, encounter_groups, same_encounter
from reid_ray.errors import ConfigError, DatasetError


def data_of(root: Path, source: str, **settings: Any) -> Data:
    dataset = {"source": source, "name": "one", "root": str(root), **settings}
    return Data.parse({"datasets": [dataset]}, where="test")


def test_the_encounter_is_read_off_the_path_of_a_folder_or_a_table(
    tmp_path: Path, write_photo: Callable[..., Path]
) -> None:
    for name in ("a/12_left.jpg", "a/12_right.jpg", "b/7_left.jpg", "b/extra.jpg"):
        write_photo(tmp_path / name)
    pattern = {"pattern": r"(\d+)_[^/]*$"}
    found = load_rows(data_of(tmp_path, "folder", encounter_from=pattern), made=tmp_path).rows
    by_path = dict(zip(found["path"], found["encounter"], strict=True))
    expected = {"a/12_left.jpg": "12", "a/12_right.jpg": "12", "b/7_left.jpg": "7", "b/extra.jpg": ""}
    assert by_path == expected
    lines = ["identity,path,date,encounter"]
    lines += [f"{path[0]},{path},2020-01-0{i}T10:00,x" for i, path in enumerate(expected, start=1)]
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    daily = {"column": "date", "pattern": "^(.{10})"}
    rows = load_rows(data_of(tmp_path, "table", encounter_from=daily), made=tmp_path).rows
    assert sorted(rows["encounter"]) == [f"2020-01-0{i}" for i in range(1, 5)]
    kept = load_rows(data_of(tmp_path, "table"), made=tmp_path).rows
    assert set(kept["encounter"]) == {"x"}


def test_a_pattern_that_finds_nothing_is_refused_with_an_example() -> None:
    rows = pd.DataFrame({"path": ["a/1.jpg", "a/2.jpg"]})
    with pytest.raises(DatasetError, match=r"one: .*finds nothing in column 'path'.*'a/1\.jpg'"):
        derive_encounters(rows, EncounterFrom(pattern="(e[0-9]+)_"), dataset="one")
    with pytest.raises(DatasetError, match=r"'date', which the table does not have; found \['path'"):
        derive_encounters(rows, EncounterFrom(column="date", pattern="(.*)"), dataset="one")


@pytest.mark.parametrize(
    ("pattern", "words"), [("(", "not a regular expression"), ("a", "0 groups"), ("(a)(b)", "2 groups")]
)
def test_a_pattern_needs_one_group(tmp_path: Path, pattern: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"encounter_from\.pattern: .*{words}"):
        data_of(tmp_path, "folder", encounter_from={"pattern": pattern})


def test_codes_are_equal_within_one_encounter_of_one_dataset_only() -> None:
    rows = pd.DataFrame({"dataset": list("aaabb"), "encounter": ["1", "2", "1", "1", ""]})
    codes = encounter_codes(rows)
    assert codes[0] == codes[2]
    assert len({codes[0], codes[1], codes[3]}) == 3
    assert codes[4] == -1
    assert (encounter_codes(rows[["dataset"]]) == -1).all()
    same = same_encounter(np.array([3, -1]), np.array([3, -1, 4]))
    assert same.tolist() == [[True, False, False], [False, False, False]]


def test_photos_of_one_encounter_show_one_animal_unless_a_file_stands_there_twice() -> None:
    rows = pd.DataFrame(
        {
            "dataset": ["one"] * 8,
            "encounter": ["a", "a", "b", "", "", "c", "c", "c"],
            "path": ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.jpg", "6.jpg", "6.jpg", "7.jpg"],
            "identity": ["leo", "mia", "leo", "leo", "leo", "leo", "mia", "leo"],
        }
    )
    assert encounter_groups(rows, named=False).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    # Where names are known, an encounter of two animals is an encounter of each.
    assert encounter_groups(rows, named=True).tolist() == [0, 1, 2, 3, 4, 5, 6, 5]


def test_a_text_that_a_pattern_would_search_for_long_is_refused_with_its_row() -> None:
    rows = pd.DataFrame({"path": ["a/1_x.jpg", "1" * 100_000]})
    with pytest.raises(DatasetError, match=r"'path' has 100000 characters in row 2, .* 1024 at most"):
        derive_encounters(rows, EncounterFrom(pattern=r"(\d+)_[^/]*$"), dataset="one")

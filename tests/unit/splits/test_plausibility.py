"""What is formally right and makes no sense is told; what is sound is left alone."""

import pandas as pd
import pytest

from reid_ray.config.datasets import Split
from reid_ray.errors import DatasetError
from reid_ray.splits.assign import assign
from reid_ray.splits.plausibility import oddities, refuse_no_question


def rows(paths: list[str], names: list[str] | None = None, **columns: list[str]) -> pd.DataFrame:
    """Photos of the animals whose folders they lie in, unless names are given."""
    names = [path.partition("/")[0] for path in paths] if names is None else names
    ids = [str(place) for place in range(len(paths))]
    table = {"key": [f"d/{one}" for one in ids], "image_id": ids, "identity": names, "path": paths}
    return pd.DataFrame({**table, "root": "/r", "dataset": "d", "group": "d", **columns})


def told(paths: list[str], names: list[str] | None = None) -> str:
    return "; ".join(oddities(rows(paths, names), "d"))


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Unidentified",
            "unidentified_3",
            "Unmatched Individuals",
            "UNK",
            "unk 12",
            "unknown 2",
            "Unknown-03",
        ),
        *("nan", "NaN", "None", "?", "???", "-", "No ID", "no_id", "not identified", "N/A", "UNID", "Misc"),
    ],
)
def test_names_of_nobody_are_told(name: str) -> None:
    assert "look like no animal" in told(["x/1.jpg", "x/2.jpg"], [name, "leo"])


@pytest.mark.parametrize(
    "name", ["Una", "Nona", "Norris", "Notus", "Newton", "7", "007", "Unkas", "N1", "Nanuk", "0"]
)
def test_names_of_animals_are_not(name: str) -> None:
    assert told([f"{name}/1.jpg", "leo/2.jpg"]) == ""


def test_years_and_days_are_no_animals_but_numbers_are() -> None:
    assert "look like years or days" in told(["2020/1.jpg", "2021/2.jpg"])
    assert "look like years or days" in told(["2020-05-01/1.jpg", "2020-05-02/2.jpg"])
    assert told(["2020/1.jpg", "3021/2.jpg"]) == ""
    assert told([f"{n}/1.jpg" for n in range(1900, 2000)]) == ""
    assert told(["a.jpg", "b.jpg"], ["2020", "2021"]) == ""  # a table says so


def test_heaps_and_folders_of_cameras_are_no_animals() -> None:
    assert "look like folders of photos" in told(["images/1.jpg", "leo/2.jpg"])
    assert "look like folders of photos" in told(["100RECNX/1.jpg", "leo/2.jpg"])


@pytest.mark.parametrize("pair", [("leo_L", "leo_R"), ("leo-LF", "leo-RF"), ("leo left", "LEO right")])
def test_two_sides_of_one_animal_are_told(pair: tuple[str, str]) -> None:
    assert "two sides of one animal" in told(["x/1.jpg", "x/2.jpg"], list(pair))


def test_one_side_alone_is_a_name() -> None:
    assert told(["x/1.jpg", "x/2.jpg"], ["leo_L", "mia_R"]) == ""
    assert told(["x/1.jpg", "x/2.jpg"], ["Bell", "Berr"]) == ""


def test_animals_below_sites_are_told_and_cameras_below_animals_are_not() -> None:
    sites = [f"north-{site}/{animal}/{n}.jpg" for site in "ab" for animal in ("leo", "mia") for n in range(2)]
    assert "the animal seems to be the second level" in told(sites)
    for below in ("C01_01", "2021", "left", "100RECNX", "cam 2"):
        paths = [f"{animal}/{below}/{n}.jpg" for animal in ("leo", "mia") for n in range(2)]
        paths += [f"{animal}/{below}x/{n}.jpg" for animal in ("leo", "mia") for n in range(2)]
        assert told([path for path in paths if below in path.split("/")]) == ""


def test_photos_of_one_day_are_no_question_of_another_day() -> None:
    table = rows(["leo/1.jpg", "leo/2.jpg", "mia/3.jpg", "mia/4.jpg"], date=["2021-03-01"] * 4)
    split = Split(kind="time_proportion")
    with pytest.raises(DatasetError, match="each animal's photos are of one day"):
        refuse_no_question(assign(table, split).rows, split)


def test_a_question_is_let_through() -> None:
    table = rows([f"leo/{n}.jpg" for n in range(5)] + [f"mia/{n}.jpg" for n in range(5)])
    refuse_no_question(assign(table, Split()).rows, Split())

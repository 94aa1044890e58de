"""A checkup names what is wrong with photos, where, and what to do."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reid_ray.config.datasets import Data
from reid_ray.splits.checkup import Checkup, check_up


def put(path: Path, seed: int, px: int = 160) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (px, px, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place in range(12):
        put(tmp_path / f"animal {place % 3}" / f"{place}.png", place)
    return tmp_path


def look(root: Path, most: int | None = None, **dataset: Any) -> Checkup:
    item = {"source": "folder", "name": "d", "root": str(root), **dataset}
    data = Data.parse({"datasets": [item], "images": {"max_bad_share": 1.0}}, where="test")
    return check_up(data, made=root / "unused", most_photos=most)


def test_sound_photos_have_facts_and_no_problems(root: Path) -> None:
    found = look(root)
    assert found.problems == []
    assert "d: 12 photos of 3 animals" in found.facts
    assert "d: 9 reference and 3 query photos (3 references kept for validation)" in found.facts
    assert "opened all photos" in found.facts
    assert "shorter sides from 160 to 160 px, half 160 px or more" in found.facts


def advice(root: Path) -> str:
    return next(note for note in look(root).notes if "neither dates nor encounters" in note)


def test_file_names_that_tell_encounters_are_shown_with_the_pattern_to_use(tmp_path: Path) -> None:
    for place in range(12):
        put(tmp_path / f"animal {place % 2}" / f"{place // 4}{place % 2}_{place}.png", place)
    assert "such as 00_0.png and 00_2.png seem to belong together" in advice(tmp_path)
    pattern = advice(tmp_path).partition("pattern: '")[2].partition("'")[0]
    found = look(tmp_path, encounter_from={"pattern": pattern})
    assert any(fact.startswith("d: 6 encounters (") for fact in found.facts)


@pytest.mark.parametrize("name", ["IMG_{n}", "{animal}-{n}", "{n}"])
def test_file_names_that_tell_nothing_are_not_taken_for_encounters(tmp_path: Path, name: str) -> None:
    for n in range(12):
        file = name.format(n=n, animal=f"a{n % 3}") + ".png"
        put(tmp_path / f"animal {n % 3}" / file, n)
    assert advice(tmp_path).endswith("add a column `encounter` if you know them")


def test_photos_that_cannot_be_opened_are_named_with_the_reason(root: Path) -> None:
    whole = (root / "animal 0" / "0.png").read_bytes()
    (root / "animal 0" / "0.png").write_bytes(whole[: len(whole) // 2])
    (root / "animal 1" / "1.png").write_bytes(b"not a photo")
    (root / "animal 1" / "gone.png").symlink_to(root / "nowhere.png")
    text = "\n".join(look(root).problems)
    assert "1 photo quarantined: missing file (animal 1/gone.png)" in text
    assert "1 of all photos: damaged image" in text
    assert "1 of all photos: not an image of a known format" in text


def test_one_file_under_two_names_is_a_problem_and_a_plain_copy_a_note(root: Path) -> None:
    shutil.copy(root / "animal 0" / "0.png", root / "animal 1" / "same.png")
    shutil.copy(root / "animal 2" / "2.png", root / "animal 2" / "copy.png")
    found = look(root)
    assert ["1 file under several names" in text for text in found.problems] == [True]
    assert any(text.startswith("1 photo equal to another") for text in found.notes)


@pytest.mark.parametrize(
    ("other", "alike"),
    [("animal_0", True), ("Animal-0", True), ("animal 00", True), ("animal 3", False), ("animal 10", False)],
)
def test_names_that_may_be_one_animal_are_listed(root: Path, other: str, alike: bool) -> None:
    put(root / other / "x.png", 99)
    named = [text for text in look(root).problems if "names that may be one animal" in text]
    assert bool(named) == alike
    assert not alike or f"{sorted(['animal 0', other])[0]} / " in named[0]


def test_one_animal_is_too_few(tmp_path: Path) -> None:
    for place in range(3):
        put(tmp_path / "leo" / f"{place}.png", place)
    assert any("at least two are needed" in text for text in look(tmp_path).problems)


def test_opened_photos_are_spread_and_counted(root: Path) -> None:
    assert "opened 5 of 12 photos" in look(root, most=5).facts


def test_small_photos_and_single_ones_are_noted(root: Path) -> None:
    put(root / "animal 9" / "x.png", 99, px=64)
    notes = look(root).notes
    assert "shorter side below 128 px, so few details, in 1 of 13 photos" in notes
    assert any(text.startswith("d: 1 animal with a single photo") for text in notes)

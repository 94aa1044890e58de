"""The side that a photo shows is read off its name."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_ray.config.datasets import Data
from reid_ray.datasets.catalogue import load_rows
from reid_ray.errors import DatasetError


def data(root: Path, pattern: str) -> Data:
    one = {"source": "folder", "name": "n", "root": str(root), "side_from": {"pattern": pattern}}
    return Data.parse({"datasets": [one]}, where="test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "leo").mkdir()
    for name in ("1_leftphoto.png", "2_Rphoto.png", "3.png"):
        cv2.imwrite(str(tmp_path / "leo" / name), np.zeros((40, 40, 3), np.uint8))
    return tmp_path


def test_words_and_letters_in_names_are_sides_and_others_have_none(root: Path) -> None:
    rows = load_rows(data(root, r"_(left|right|L|R)photo"), made=root / "made").rows
    assert dict(zip(rows["path"], rows["orientation"], strict=True)) == {
        "leo/1_leftphoto.png": "left",
        "leo/2_Rphoto.png": "right",
        "leo/3.png": "",
    }


def test_a_pattern_that_finds_nothing_is_told_by_its_setting(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"side_from\.pattern"):
        load_rows(data(root, "(nowhere)"), made=root / "made")

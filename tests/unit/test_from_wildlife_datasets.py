"""The example writes a table that a study reads, of what wildlife-datasets has (which is not needed here)."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from reid_ray.config.datasets import Data
from reid_ray.datasets.catalogue import expected_rows

EXAMPLE = Path(__file__).parents[2] / "examples" / "from_wildlife_datasets.py"

STAND_IN = """
import pandas as pd

class SealID:
    def __init__(self, root):
        self.df = pd.read_csv(root + "/theirs.csv")

class IPanda50(SealID):
    pass
"""
SPLITS = """
import numpy as np

class ClosedSetSplit:
    def __init__(self, share):
        assert share == 0.8

    def split(self, df):
        return [(np.flatnonzero(df.index % 5), np.flatnonzero(df.index % 5 == 0))]
"""


@pytest.fixture
def downloaded(tmp_path: Path) -> Path:
    """Ten photos of two seals, black but for a rectangle, and a package that stands in for theirs."""
    package = tmp_path / "site" / "wildlife_datasets"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "datasets.py").write_text(STAND_IN)
    (package / "splits.py").write_text(SPLITS)
    root = tmp_path / "downloads"
    (root / "photos").mkdir(parents=True)
    rows = []
    for number in range(10):
        pixels = np.zeros((100, 120, 3), np.uint8)
        pixels[20:80, 30 : 90 + number] = 200
        Image.fromarray(pixels).save(root / "photos" / f"{number}.png")
        rows.append((f"id{number}", f"seal{number % 2}", f"photos/{number}.png", "[0, 0, 50, 50]", number))
    columns = ["image_id", "identity", "path", "bbox", "other"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "theirs.csv", index=False)
    return root


def run(downloaded: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE), name, str(downloaded)]
    site = str(downloaded.parent / "site")
    return subprocess.run(command, env={"PYTHONPATH": site}, capture_output=True, text=True, check=False)


def made(downloaded: Path, name: str) -> pd.DataFrame:
    told = run(downloaded, name)
    assert told.returncode == 0, told.stderr
    assert told.stdout == f"{downloaded / 'metadata.csv'}: 10 photos of 2 animals\n"
    return pd.read_csv(downloaded / "metadata.csv")


def test_a_collection_is_split_and_prepared_as_published(downloaded: Path) -> None:
    table = made(downloaded, "SealID")
    assert list(table) == ["image_id", "identity", "path", "bbox", "split"]
    assert table["split"].tolist() == ["test", *["train"] * 4] * 2
    # wildlife-tools crops to min .. max of what is not black, and PIL leaves out the last row and column.
    assert table["bbox"].tolist() == [str([30, 20, 59 + number, 59]) for number in range(10)]


def test_a_collection_whose_photos_are_taken_whole_has_no_boxes(downloaded: Path) -> None:
    assert "bbox" not in made(downloaded, "IPanda50")


def test_a_study_reads_what_was_made_and_it_is_not_overwritten(downloaded: Path) -> None:
    made(downloaded, "SealID")
    dataset = {"source": "table", "name": "SealID", "root": str(downloaded)}
    data = Data.parse({"datasets": [dataset], "images": {"crop": "bbox"}}, where="test")
    loaded = expected_rows(data, made=downloaded)
    assert len(loaded.rows) == 10
    assert not len(loaded.quarantine)
    assert loaded.rows["bbox"].iloc[0] == [30, 20, 59, 59]
    again = run(downloaded, "SealID")
    assert again.returncode == 2
    assert "metadata.csv is there already" in again.stderr

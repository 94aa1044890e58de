"""Synthetic collections on disk: what is written, that it is the same every time, and that it survives
crashes."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.datasets.synthetic.make import synthetic_digest
from reid_ray.errors import DatasetError

ALL_SPECIES = ("zebra", "leopard", "giraffe", "whale", "ringed_seal")


def synthetic(**changes: object) -> SyntheticDataset:
    settings = {
        "source": "synthetic",
        "name": "h",
        "species": "zebra",
        "identities": 4,
        "photos": 3,
        "size_px": 64,
    }
    return SyntheticDataset.parse(settings | changes, where="test")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_synthetic(tmp_path_factory.mktemp("synthetic"), synthetic())


def table(home: Path) -> pd.DataFrame:
    return pd.read_csv(home / "metadata.csv", dtype=str, keep_default_na=False)


def digests(home: Path) -> dict[str, str]:
    files = sorted(path for path in home.rglob("*") if path.is_file())
    return {str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_settings_give_the_same_bytes(home: Path, tmp_path: Path) -> None:
    assert digests(make_synthetic(tmp_path, synthetic(name="other", group="equids"))) == digests(home)


def test_another_seed_gives_other_photos(home: Path, tmp_path: Path) -> None:
    other = make_synthetic(tmp_path, synthetic(seed=1))
    assert other.name != home.name
    photos = {digest for name, digest in digests(home).items() if name.endswith(".jpg")}
    assert not photos & set(digests(other).values())


def test_metadata_has_a_row_per_photo_in_the_stated_columns(home: Path) -> None:
    rows = table(home)
    assert list(rows.columns) == [
        "image_id",
        "identity",
        "path",
        "orientation",
        "date",
        "encounter",
        "species",
        "mask",
    ]
    assert rows.image_id.is_unique
    assert len(rows) == 4 * 3
    assert rows.identity.nunique() == 4
    assert rows.groupby("identity").size().min() >= 2
    assert set(rows.species) == {"zebra"}
    assert set(rows.orientation) <= {"left", "right"}
    assert list(rows.date) == sorted(rows.date)
    assert {name for name in digests(home) if name != "metadata.csv"} == {*rows.path, *rows["mask"]}


def test_photos_lie_in_the_folder_of_their_identity(home: Path) -> None:
    assert all(
        path == f"images/{who}/{image}.jpg"
        for path, who, image in table(home)[["path", "identity", "image_id"]].values
    )


@pytest.mark.parametrize("species", ALL_SPECIES)
def test_photo_and_mask_fit_together(species: str, tmp_path: Path) -> None:
    rows = table(home := make_synthetic(tmp_path, synthetic(species=species, identities=2, photos=2)))
    for path, mask_path in rows[["path", "mask"]].to_numpy():
        photo, mask = (cv2.imread(str(home / path)), cv2.imread(str(home / mask_path), cv2.IMREAD_UNCHANGED))
        assert photo is not None
        assert mask is not None
        assert min(photo.shape[:2]) == 64
        assert mask.shape == photo.shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        assert 0.1 < (mask > 0).mean() < 0.8


def test_a_whole_collection_is_not_written_again(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
    assert make_synthetic(home.parent, synthetic()) == home
    assert {path: path.stat().st_mtime_ns for path in home.rglob("*")} == before


@pytest.mark.parametrize("damage", ["photo", "mask", "metadata", "cut"])
def test_a_half_collection_is_made_again(damage: str, home: Path, tmp_path: Path) -> None:
    whole = digests(home)
    broken = make_synthetic(tmp_path, synthetic())
    first = table(broken).iloc[0]
    {
        "photo": (broken / first["path"]).unlink,
        "mask": lambda: (broken / first["mask"]).write_bytes(b""),
        "metadata": (broken / "metadata.csv").unlink,
        "cut": lambda: (broken / "metadata.csv").write_text("image_id,ide"),
    }[damage]()
    assert digests(make_synthetic(tmp_path, synthetic())) == whole
    assert [path.name for path in tmp_path.iterdir()] == [broken.name]


def test_a_crash_while_writing_leaves_no_collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []

    def full_disk(path: Path, data: bytes) -> int:
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device")
        return len(data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full_disk)
        with pytest.raises(DatasetError, match="No space left"):
            make_synthetic(tmp_path, synthetic())
    assert list(tmp_path.iterdir()) == []
    assert len(table(make_synthetic(tmp_path, synthetic()))) == 12


def test_the_digest_ignores_name_and_group_and_nothing_else() -> None:
    base = synthetic_digest(synthetic())
    assert synthetic_digest(synthetic(name="x", group="y")) == base
    changes = (
        {"seed": 1},
        {"size_px": 65},
        {"photos": 4},
        {"identities": 5},
        {"species": "whale"},
        {"repeated": 0.5},
    )
    assert len({base, *(synthetic_digest(synthetic(**change)) for change in changes)}) == 7


def test_a_repeat_is_a_little_brighter_in_another_file(tmp_path: Path) -> None:
    rows = table(made := make_synthetic(tmp_path, synthetic(repeated=1)))
    paths = dict(zip(rows["image_id"], rows["path"], strict=True))
    twins = [(made / paths[key], made / paths[f"{key}b"]) for key in paths if f"{key}b" in paths]
    assert len(twins) == len(rows) / 2 == 12
    for first, second in twins:
        one, other = (cv2.imread(str(path)).astype(float) for path in (first, second))
        dim = one < 200  # brighter pixels reach the end of the range
        assert other[dim].mean() / one[dim].mean() == pytest.approx(1.05, abs=0.01)

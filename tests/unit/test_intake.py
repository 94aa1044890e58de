"""Collections as people have them are read, and every file, column and name is accounted for.

Each folder of `tests/fixtures/intake` is such a collection, made after what people of the field report; its
README says what is right. The photos are generated noise.
"""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from reid_ray.config.base import load as load_config
from reid_ray.config.datasets import Data, Images
from reid_ray.config.match import MatchRun
from reid_ray.datasets.catalogue import LoadedRows, load_rows
from reid_ray.datasets.understand import Said, understand
from reid_ray.errors import DatasetError
from reid_ray.reporting.advice import advise
from reid_ray.splits.plausibility import plausible

CASES = Path(__file__).parents[1] / "fixtures" / "intake"
NINE = {f"A{animal}/IMG_{animal}0{n}.jpg": f"A{animal}" for animal in range(3) for n in range(3)}
RECONYX = {f"A{animal}/RCNX000{n}.jpg": f"A{animal}" for animal in range(3) for n in range(3)}


def rows_of(case: str, said: Said | None = None) -> pd.DataFrame:
    """What a study of this case would read; a crop is asked for where there are boxes."""
    return loaded(case, said).rows


def loaded(case: str, said: Said | None = None) -> LoadedRows:
    found = understand(CASES / case / "photos", said=said)
    images = Images(crop="bbox" if found.boxes else "full", max_bad_share=1.0)
    return load_rows(Data(datasets=(found.dataset,), images=images), made=Path("unused"))


def named(rows: pd.DataFrame) -> dict[str, str]:
    return dict(zip(rows["path"], rows["identity"], strict=True))


class Told:
    """What `validate` prints, and its exit code."""

    def __init__(self, case: str, capsys: pytest.CaptureFixture[str], said: Said | None = None) -> None:
        self.code = advise(str(CASES / case / "photos"), most_photos=None, write=None, said=said)
        self.text = re.sub(r"\s+", " ", capsys.readouterr().out)

    @property
    def to_mend(self) -> str:
        """What is under that heading."""
        return self.text.partition("To mend")[2].partition("Good to know")[0].partition("A config to")[0]


def test_file_names_without_folders_are_found_where_each_is_there_once() -> None:
    assert named(rows_of("bare-file-names")) == NINE


def test_camtrap_dp_joins_media_with_observations() -> None:
    rows = rows_of("camtrap-dp").set_index("path")
    assert rows["identity"].to_dict() == {f"media/{path}": name for path, name in NINE.items()}
    first = rows.loc["media/A0/IMG_000.jpg"]
    assert first["bbox"] == [0.1, 0.1, 0.8, 0.8]
    assert first["encounter"] == "e0"
    assert rows.loc["media/A0/IMG_002.jpg", "encounter"] == "e1"
    assert first[["species", "date", "location"]].tolist() == ["Lynx lynx", "2021-03-01T10:20:30Z", "l1"]


def test_dates_with_the_day_first_are_read_where_a_13_shows_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert rows_of("day-first-dates")["date"].unique().tolist() == ["2021-03-13 10:22"]
    told = Told("day-first-dates", capsys)
    assert "3 queries were taken in an encounter of a reference photo" in told.text


def test_excels_lock_file_is_hidden() -> None:
    assert named(rows_of("excel-lock-file")) == NINE


def test_the_sheet_that_lists_photos_is_read_and_the_other_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert named(rows_of("excel-second-sheet")) == {
        f"all/{path.partition('/')[2]}": name for path, name in NINE.items()
    }
    assert "not used: lynx.xlsx, sheet 'README'" in Told("excel-second-sheet", capsys).text


def test_the_column_whose_cells_are_files_is_the_path() -> None:
    dataset = understand(CASES / "filepath-and-filename" / "photos").dataset
    assert dataset.columns.path == "filepath"
    assert named(rows_of("filepath-and-filename")) == NINE


def test_photos_are_called_by_their_paths(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("hash-for-path", capsys)
    assert told.code == 2
    assert "(A1/IMG_102.jpg)" in told.to_mend
    assert "A0/IMG_000.jpg = A2/copy.jpg" in told.to_mend
    assert not re.search(r"[0-9a-f]{16}", told.text)


def test_heic_files_that_cannot_be_read_are_to_be_converted(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("heic-only", capsys)
    assert told.code == 2
    assert "9 of all photos: HEIC file that cannot be decoded; convert it to JPEG (A0/IMG_0.HEIC" in told.text


def test_a_column_that_numbers_rows_is_no_identity(capsys: pytest.CaptureFixture[str]) -> None:
    assert named(rows_of("id-column")) == NINE
    told = Told("id-column", capsys, Said(identity_column="id"))
    assert told.code == 2
    assert "no animal has two photos" in told.to_mend


def test_a_single_folder_above_the_animals_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("images-layer", capsys)
    assert told.code == 2
    assert "the animals seem to be one level deeper; give " in told.to_mend
    assert "/images-layer/photos/images, or --level 2" in told.to_mend
    deeper = rows_of("images-layer", Said(level=2))
    assert named(deeper) == {f"images/{path}": name for path, name in NINE.items()}


def test_a_name_that_fits_several_photos_gives_its_box_to_none(capsys: pytest.CaptureFixture[str]) -> None:
    rows = rows_of("md-bare-names")
    assert named(rows) == RECONYX
    assert "bbox" not in rows
    told = Told("md-bare-names", capsys)
    assert told.code == 2
    assert "3 that fit several photos and so none, for example RCNX0000.jpg" in told.to_mend


def test_photos_with_and_without_a_box_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("md-partial", capsys)
    assert told.code == 2
    assert (
        "boxes for 1 of 9 photos; 8 are taken whole: 6 not in md.json, 1 failed, 1 without an animal"
        in told.to_mend
    )
    boxes = rows_of("md-partial").set_index("path")["bbox"]
    assert boxes.dropna().to_dict() == {"A0/IMG_000.jpg": [0.1, 0.1, 0.6, 0.6]}


def test_windows_paths_of_a_detector_are_matched_below_another_folder() -> None:
    rows = rows_of("md-windows-deeper")
    assert rows["bbox"].tolist() == [[0.1, 0.1, 0.6, 0.6]] * 9


def test_names_in_another_unicode_form_are_found() -> None:
    rows = rows_of("nfd-names")
    assert len(rows) == 9
    assert rows["identity"].value_counts().to_dict() == {"Zoé": 3, "Björn": 3, "Ünal": 3}


def test_a_study_that_asks_nothing_is_refused_before_it_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told("no-query", capsys)
    assert told.code == 2
    assert "no animal has two photos, so there is nothing to ask" in told.to_mend
    monkeypatch.chdir(CASES / "no-query")
    study = load_config(MatchRun, Path("none.yaml"), []).study()
    with pytest.raises(DatasetError, match="no animal has two photos, so there is nothing to ask"):
        plausible(study.data, made=Path("unused"))


def test_names_that_look_like_no_animal_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("not-an-animal", capsys)
    assert told.code == 2
    assert (
        "these names look like no animal: UNK, Unidentified, Unmatched Individuals, unknown 2;"
        in told.to_mend
    )


def test_recycle_bins_are_passed_over_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert named(rows_of("recycle-bin")) == NINE
    told = Told("recycle-bin", capsys)
    assert "passed over: #recycle, $RECYCLE.BIN, _trash" in told.text


def test_the_two_sides_of_one_animal_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("side-in-name", capsys)
    assert told.code == 2
    assert "names that may be the two sides of one animal: Ivan0_L / Ivan0_R" in told.to_mend


def test_a_table_without_animals_beside_folders_is_not_used_and_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert named(rows_of("stray-table")) == NINE
    told = Told("stray-table", capsys)
    assert told.code == 0
    assert "not used: exif.csv, because none of its columns" in told.text


def test_boxes_of_a_table_switch_cropping_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert rows_of("table-bbox")["bbox"].tolist() == [[10, 10, 60, 60]] * 9
    assert "images: {crop: bbox}" in Told("table-bbox", capsys).text


def test_timelapses_folder_and_file_are_joined() -> None:
    assert named(rows_of("timelapse")) == RECONYX


def test_nameless_empty_columns_are_left_out() -> None:
    assert named(rows_of("trailing-columns")) == NINE


def test_two_animals_of_one_photo_are_two_rows() -> None:
    rows = rows_of("two-animals-one-photo")
    assert len(rows) == 18
    assert rows["path"].nunique() == 9
    assert rows["identity"].nunique() == 6
    assert rows["image_id"].is_unique


def test_photos_are_told_by_content_and_all_other_files_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = loaded("unmentioned-files")
    assert set(result.rows["path"]) == {*NINE, "A1/x0.jfif", "A1/x1.jpe", "A1/x6"}
    assert set(result.quarantine["path"]) == {"A1/x2.pef", "A1/x3.srw", "A1/x4.jxl"}
    told = Told("unmentioned-files", capsys)
    assert "16 files: 12 used, 3 quarantined, 1 not photos (.mp4 1)" in told.text


def test_windows_paths_are_read() -> None:
    assert named(rows_of("windows-paths")) == NINE


def test_years_above_the_animals_are_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told("year-layer", capsys)
    assert told.code == 2
    assert (
        "the same folder names (A0, A1, A2) lie below several folders (2020, 2021): the animal seems to be "
        "the second level; give --level 2" in told.to_mend
    )
    rows = rows_of("year-layer", Said(level=2))
    assert rows["identity"].value_counts().to_dict() == {"A0": 6, "A1": 6, "A2": 6}


def test_what_lies_below_no_folder_of_an_animal_stays_unknown(tmp_path: Path) -> None:
    shutil.copytree(CASES / "year-layer" / "photos", tmp_path / "photos")
    shutil.copy(CASES / "year-layer/photos/2020/A0/IMG_000.jpg", tmp_path / "photos/2020/loose.jpg")
    found = understand(tmp_path / "photos", said=Said(level=2))
    rows = load_rows(Data(datasets=(found.dataset,)), made=Path("unused")).rows
    assert rows.set_index("path").loc["2020/loose.jpg", "identity"] == "unknown"

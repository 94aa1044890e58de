"""Collections as people have them, named and matched to the end.

READMEs of `tests/fixtures/intake` say what is right.
"""

import sys
from pathlib import Path

import pandas as pd
import pytest

from reid_ray import command, match
from reid_ray.config.match import MatchRun
from reid_ray.identify import act, arguments
from reid_ray.on_ray.cluster.session import Cluster

CASES = Path(__file__).parents[1] / "fixtures" / "intake"


def identified(case: str, query: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command prints."""
    home = CASES / case
    words = ["--reference", str(home / "photos"), "--query", str(home / query), "--local", "sift"]
    places = [f"storage={tmp_path / 'runs'}", f"out={tmp_path / 'out'}", "name=case"]
    assert act(arguments().parse_args([*words, *(w for place in places for w in ("--set", place))])) == 0
    return capsys.readouterr().out


def test_a_small_catalogue_gives_every_photo_an_answer(
    running_ray: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identified("small-catalogue", "new", tmp_path, capsys)
    candidates = pd.read_csv(tmp_path / "out" / "case" / "candidates.csv")
    assert set(candidates["path"]) == {"q0.jpg", "q1.jpg", "q2.jpg"}
    assert set(candidates["identity"]) <= {f"A{n}" for n in range(4)}


def test_one_photo_can_be_asked_by_itself(
    running_ray: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    identified("small-catalogue", "new/q1.jpg", tmp_path, capsys)
    assert list(pd.read_csv(tmp_path / "out" / "case" / "answers.csv")["path"]) == ["q1.jpg"]


def test_copies_of_known_photos_are_called_the_same_files_and_counted_apart(
    running_ray: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = identified("query-is-reference", "new", tmp_path, capsys)
    assert "3  the same file as a reference photo" in said
    assert "new_0.jpg is the same file as A0/0.jpg" in said
    same = pd.read_csv(tmp_path / "out" / "case" / "same_files.csv")
    assert same["same_file_as"].tolist() == ["A0/0.jpg", "A1/0.jpg", "A2/0.jpg"]
    assert pd.read_csv(tmp_path / "out" / "case" / "answers.csv").empty


def test_a_mask_whose_numbers_overflow_is_refused_and_its_photo_is_matched(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(CASES / "rle-overflow")
    places = [f"storage={tmp_path / 'runs'}", f"reports={tmp_path / 'reports'}"]
    words = ["match", "seg.yaml", *(w for place in places for w in ("--set", place))]
    monkeypatch.setattr(sys, "argv", words)
    assert command.run("match", MatchRun, match.act, match.arguments()) == 0
    said = capsys.readouterr()
    assert "0_0.jpg" in said.out + said.err
    assert len(pd.read_parquet(tmp_path / "runs" / "seg" / "rows.parquet")) == 16

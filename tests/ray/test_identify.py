"""Photos are named on a real Ray: known animals are found, unknown individuals are not given a name."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.config.identify import IdentifyRun
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.identify import act, arguments
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.identify import identify
from reid_ray.on_ray.retrieval import bench
from reid_ray.progress import Display
from reid_ray.reporting.answers import encounters_of

pytestmark = pytest.mark.ray
STRANGERS = 3


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """Known animals in folders, photos to be named loose, and who is in them."""
    root = tmp_path_factory.mktemp("animals")
    synthetic = SyntheticDataset(
        source="synthetic", name="leopard", species="leopard", identities=14, photos=8, size_px=160, seed=3
    )
    made = make_synthetic(root / "made", synthetic)
    table = pd.read_csv(made / "metadata.csv", dtype=str)
    truth: dict[str, str] = {}
    names = sorted(table["identity"].unique())
    for row in table.sort_values("image_id").itertuples():
        place = names.index(row.identity)
        number = sum(1 for known in truth.values() if known == row.identity)
        source = made / row.path
        if place < STRANGERS or number < 2:
            # Two photos of an animal after another pass for one encounter.
            target = root / "query" / f"{place}.{number // 2}_{row.image_id}{source.suffix}"
            truth[target.name] = row.identity
        else:
            target = root / "reference" / row.identity / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    unknown = set(names[:STRANGERS])
    return (
        root / "reference",
        root / "query",
        {name: "unknown" if who in unknown else who for name, who in truth.items()},
    )


def test_known_animals_are_found_by_encounter_and_strangers_are_grouped(
    folders: tuple[Path, Path, dict[str, str]], running_ray: Cluster, tmp_path: Path
) -> None:
    reference, query, truth = folders
    run = IdentifyRun.parse(
        {
            "reference": {"source": "folder", "name": "reference", "root": str(reference)},
            "query": {
                "source": "folder",
                "name": "query",
                "root": str(query),
                "encounter_from": {"pattern": "([^/]+)_[^/]*$"},
            },
            "local": "rootsift",
            "images": {"short_px": 128},
            "cluster_unknown": True,
            "storage": str(tmp_path),
            "unknown_share": 0.5,
        },
        where="test",
    )
    found = identify(run, display=Display())
    answers = found.answers("test")
    said = {Path(found.rows["path"].iloc[a.row]).name: a for a in answers.answers}
    assert set(said) == set(truth)
    known = [name for name, who in truth.items() if who != "unknown"]
    first = np.mean([said[name].candidates[0].identity == truth[name] for name in known])
    assert first > 0.4  # chance is 1 of 11
    named = [name for name in said if said[name].identity is not None]
    right = [said[name].identity == truth[name] for name in named]
    everyone = [said[name].candidates[0].identity == truth[name] for name in said]
    assert np.mean(right) > np.mean(everyone)  # silence where it is unsure pays
    sure = [
        np.mean([a.unknown for n, a in said.items() if (truth[n] == "unknown") == unknown_one])
        for unknown_one in (False, True)
    ]
    assert sure[1] > sure[0]
    sums = [sum(c.probability for c in a.candidates) + a.unknown for a in answers.answers]
    assert max(sums) < 1 + 1e-6
    assert np.mean(sums) > 0.9  # the rest belongs to animals further down the list
    for photos in encounters_of(answers.answers):
        assert len({found.rows["encounter"].iloc[a.row] for a in photos}) == 1
        assert len({(a.unknown, a.candidates) for a in photos}) == 1  # one answer for all of them
        assert photos[0].candidates[0].beside in {a.row for a in photos}
    assert max(map(len, encounters_of(answers.answers))) == 2
    assert found.groups is not None
    assert {a.group is None for a in answers.answers if a.identity is None} == {False}
    assert set(found.names) == {who for who in truth.values() if who != "unknown"}
    photo = said[known[0]].candidates[0].photo
    assert found.rows["dataset"].iloc[photo] == "reference"


def test_a_photo_that_is_a_reference_is_called_the_same_file_and_not_named(
    folders: tuple[Path, Path, dict[str, str]],
    running_ray: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference, query, _ = folders
    known, new = sorted(reference.rglob("*.jpg"))[0], sorted(query.rglob("*.jpg"))[0]
    for folder, photos in {"copies": [known], "mixed": [known, new]}.items():
        (tmp_path / folder).mkdir()
        for number, photo in enumerate(photos):
            (tmp_path / folder / f"{number}.jpg").write_bytes(photo.read_bytes())
        raw = {
            "reference": {"source": "folder", "name": "reference", "root": str(reference)},
            "query": {"source": "folder", "name": "query", "root": str(tmp_path / folder)},
            "local": "rootsift",
            "images": {"short_px": 64},
            "leave_one_out_queries": 40,
            "storage": str(tmp_path),
        }
        found = identify(IdentifyRun.parse(raw, where="test"), display=Display())
        answers, path = found.answers("test"), found.rows["path"]
        assert [path.iloc[answer.row] for answer in answers.answers] == ["1.jpg"][: len(photos) - 1]
        same = str(known.relative_to(reference))
        assert [(path.iloc[c.row], path.iloc[c.reference]) for c in answers.copies] == [("0.jpg", same)]
        assert f"1 of {len(photos)} photos to name are reference photos" in answers.notes[0]
        assert f"0.jpg is the same file as {same}" in answers.notes[0]
    # The gallery is known now: the same is answered, and no worker is started.
    monkeypatch.setattr(bench, "starting", lambda **_: lambda: pytest.fail("a worker was started"))
    again = identify(IdentifyRun.parse(raw, where="test"), display=Display()).answers("test")
    assert (again.answers, again.copies) == (answers.answers, answers.copies)


def test_the_readme_names_photos(
    folders: tuple[Path, Path, dict[str, str]],
    running_ray: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its command as it stands, with a study's selected_trial, on other folders."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^uv run python -m reid_ray\.identify (.*)$", text, re.M)
    (tmp_path / "runs/mine").mkdir(parents=True)
    selected_trial = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    timm.models.save_for_hf(selected_trial, tmp_path / "runs/mine/selected_trial", safe_serialization=True)
    monkeypatch.chdir(tmp_path)
    words = [
        {"/photos/lynx": str(folders[0]), "/photos/new": str(folders[1])}.get(word, word)
        for word in shlex.split(line)
    ]
    small = ["--set", "images.short_px=64", "--set", "leave_one_out_queries=40"]
    assert act(arguments().parse_args([*words, *small])) == 0
    said = capsys.readouterr().out
    out = tmp_path / "identified" / "identified"
    assert f"Review:   {out / 'index.html'}" in said
    answers = pd.read_csv(out / "answers.csv", dtype=str)
    assert set(answers["path"]) == set(folders[2])

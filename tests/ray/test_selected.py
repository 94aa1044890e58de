"""`identify` answers as the study said the method does, photo by photo, whatever kind of method it is."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_study import Done

from reid_ray.config.identify import IdentifyRun
from reid_ray.config.tune import Study
from reid_ray.methods import worth
from reid_ray.methods.worth import Asked
from reid_ray.on_ray.identify import identify
from reid_ray.on_ray.retrieval import bench
from reid_ray.progress import Display
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.export import export_selected
from reid_ray.studies.methods_of import method_of, plan_dependent
from reid_ray.studies.planning import plan_study

pytestmark = pytest.mark.ray


def folders_of(rows: pd.DataFrame, collection: str, root: Path, to: Path) -> None:
    """Known animals in a folder each, below other names than the study's, and the queries.

    Args:
        root: of the collection's photos, which a study's table does not tell.
    """
    part = rows[rows["dataset"] == collection]
    for row in part.itertuples():
        known = row.split == "reference"
        where = to / "known" / row.identity if known else to / "new"
        name = f"{len(part) - row.Index:05d}-{Path(row.path).name}"
        where.mkdir(parents=True, exist_ok=True)
        target = where / (name if known else f"{row.image_id}{Path(row.path).suffix}")
        shutil.copy(root / row.path, target)


def asking(root: Path, study: Study) -> IdentifyRun:
    """The method in `moved` is asked who is in `new`, among `known`."""
    return IdentifyRun.parse(
        {
            "reference": {"source": "folder", "name": "reference", "root": str(root / "known")},
            "query": {"source": "folder", "name": "query", "root": str(root / "new")},
            "method": str(root / "moved"),
            "images": study.data.images.model_dump(mode="json"),
            "storage": str(root / "runs"),
        },
        where="test",
    )


@pytest.mark.parametrize("collection", ["zebra", "giraffe"])
@pytest.mark.parametrize("name", ["SIFT", "SIFT-few", "fused", "selected_trial", "test_resnet untrained"])
def test_identify_answers_as_the_study_did(
    done: Done, name: str, collection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, study = done.outcome.record, done.study
    folder = StudyFolder(done.folder / "runs" / "small")
    stages = plan_study(study, record.rows)
    selected_trial = next(plan for plan in stages.trials if plan.key == record.study["selected_trial"])
    dependent = plan_dependent(study, stages, selected_trial, folder)
    wanted = selected_trial.key if name == "selected_trial" else None
    one = next(m for m in record.methods if m.result.key == wanted or m.result.method == name)
    kept = tmp_path / "kept"
    shutil.move(folder.selected_path, kept)
    try:
        method = method_of(one.result.key, stages, dependent, folder)
        export_selected(study, folder, method, one.result, stages, record.rows)
        shutil.move(folder.selected_path, tmp_path / "moved")
    finally:
        shutil.move(kept, folder.selected_path)
    (root,) = (done.folder / "runs" / "synthetic").glob(f"{collection}-*/")
    folders_of(record.rows, collection, root, tmp_path)
    run = asking(tmp_path, study)
    tuned: list[str] = []
    spread = bench.RayBench.run

    def watched(self, requests, *shared, folder=None):
        tuned.extend(each for each in requests if each.startswith(("tuning", "pairs")))
        return spread(self, requests, *shared, folder=folder)

    monkeypatch.setattr(bench.RayBench, "run", watched)
    found = identify(run, display=Display())
    assert not tuned  # nothing is chosen or fitted again on the study's own references
    said = {
        Path(found.rows["path"].iloc[answer.row]).stem: answer for answer in found.answers("test").answers
    }
    predictions = one.predictions
    assert predictions is not None
    image_id = record.rows.set_index("key")["image_id"]
    own = predictions[predictions["dataset"] == collection]
    assert len(own) == len(said)
    for row in own.itertuples():
        answer = said[str(image_id[row.query])]
        assert answer.candidates[0].identity == row.predicted
        if np.isfinite(row.probability):
            assert answer.candidates[0].probability == pytest.approx(row.probability, abs=1e-5)
            assert answer.unknown == pytest.approx(row.unknown_probability, abs=1e-5)


def test_on_other_references_an_animal_is_scored_by_its_best_two_photos(
    done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The study's own answers are by the best photo alone; they bind nobody where references are others."""
    rows, study = done.outcome.record.rows, done.study
    shutil.copytree(StudyFolder(done.folder / "runs" / "small").selected_path, tmp_path / "moved")
    (root,) = (done.folder / "runs" / "synthetic").glob("zebra-*/")
    folders_of(rows, "zebra", root, tmp_path)
    looks: list[int] = []
    learn = worth.learn_worth

    def watched(ready, bench, how: Asked, **changes):
        looks.append(how.looks)
        return learn(ready, bench, how, **changes)

    monkeypatch.setattr("reid_ray.on_ray.identify.learn_worth", watched)
    identify(asking(tmp_path, study), display=Display())
    assert looks == []
    next((tmp_path / "known").glob("*/*")).unlink()
    # Its network was trained on each collection by itself: say which.
    identify(asking(tmp_path, study).model_copy(update={"collection": "zebra"}), display=Display())
    assert looks == [2]

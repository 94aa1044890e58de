"""From a collection in AnimalCLEF 2026's form to the submission file."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from reid_ray.config.base import load
from reid_ray.config.datasets import SyntheticDataset
from reid_ray.config.identify import IdentifyRun
from reid_ray.config.named import find
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.identify import identify
from reid_ray.progress import Display
from reid_ray.reporting.answers import write_answers

pytestmark = pytest.mark.ray
EXAMPLE = Path(__file__).parents[2] / "examples" / "animalclef_submission.py"
SPECIES = {"LynxID2025": "leopard", "SalamanderID2025": "giraffe", "TexasHornedLizards": "zebra"}
COLUMNS = ["image_id", "identity", "path", "date", "orientation", "species", "split", "dataset"]


def collection(root: Path) -> pd.DataFrame:
    """Photos below `root/images`, and the table with the animals of its test part named.

    Of each species two animals are new in the test part, of the lizards none is known.
    """
    tables = []
    for seed, (dataset, species) in enumerate(SPECIES.items()):
        source = SyntheticDataset(
            source="synthetic", name=dataset, species=species, identities=7, photos=5, size_px=128, seed=seed
        )
        made = make_synthetic(root / "made" / dataset, source)
        rows = pd.read_csv(made / "metadata.csv", dtype=str).sort_values(["identity", "image_id"])
        place = rows.groupby("identity").cumcount()
        new = rows["identity"].rank(method="dense").le(2) | (dataset == "TexasHornedLizards")
        rows["split"] = (new | place.lt(2)).map({True: "test", False: "train"})
        rows = rows.assign(dataset=dataset, species=species, date="", orientation="")
        rows["identity"] = dataset + "_" + rows["identity"]
        for row in rows.itertuples():
            target = root / "images" / dataset / str(row.split) / Path(str(row.path)).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / str(row.path), target)
        rows["path"] = [
            f"images/{dataset}/{s}/{Path(p).name}" for s, p in zip(rows["split"], rows["path"], strict=True)
        ]
        tables.append(rows)
    table = pd.concat(tables)
    return table.assign(image_id=range(len(table)))[COLUMNS]


def test_photos_become_a_submission(
    running_ray: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "animal-clef-2026"
    truth = collection(root)
    asked = truth["split"].eq("test")
    truth.assign(identity=truth["identity"].mask(asked, "")).to_csv(root / "metadata.csv", index=False)
    monkeypatch.setenv("COLLECTIONS", str(tmp_path))
    small = ["model=null", "local=rootsift", "images.short_px=96", "leave_one_out_queries=40"]
    small += [f"storage={tmp_path / 'runs'}"]
    run = load(IdentifyRun, find("identify", "animalclef_2026"), small)
    out = tmp_path / "found"
    write_answers(identify(run, display=Display()).answers(run.name), out)
    # With the animals of the test part, the index of each species is told.
    (tmp_path / "named").mkdir()
    truth.to_csv(tmp_path / "named" / "metadata.csv", index=False)
    command = [sys.executable, str(EXAMPLE), str(out), str(tmp_path / "named")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    submission = pd.read_csv(out / "submission.csv")
    assert list(submission) == ["image_id", "cluster"]
    assert submission["image_id"].tolist() == truth.loc[asked, "image_id"].tolist()
    rows = truth[asked].merge(submission, on="image_id")
    assert (rows["cluster"].str.extract(r"^cluster_(.+)_\d+$")[0] == rows["dataset"]).all()
    for name, part in rows.groupby("dataset"):
        index = adjusted_rand_score(part["identity"], part["cluster"])
        assert f"{name}: adjusted Rand index {index:.4f}" in told
    # Better than chance, which is 0: known animals anchor the lynxes and salamanders.
    assert adjusted_rand_score(rows["identity"], rows["cluster"]) > 0.3

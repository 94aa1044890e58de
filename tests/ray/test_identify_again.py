"""New photos of a gallery that was asked before are answered as by a run that starts from nothing."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
from PIL import Image

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.config.identify import IdentifyRun
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.on_ray.actors.pool import Here
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.identify import identify
from reid_ray.on_ray.retrieval import bench
from reid_ray.progress import Display
from reid_ray.reporting.answers import Answer

pytestmark = pytest.mark.ray
LONG_AGO = 1_700_000_000
Said = tuple[list[str], tuple[Answer, ...]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Below it `known`, a folder per animal, and `first` and `second`, photos to be named."""
    made = make_synthetic(
        tmp_path / "made",
        SyntheticDataset(
            source="synthetic", name="leopard", species="leopard", identities=8, photos=6, size_px=96, seed=5
        ),
    )
    table = pd.read_csv(made / "metadata.csv", dtype=str).sort_values("image_id")
    for who, rows in table.groupby("identity"):
        for number, path in enumerate(rows["path"]):
            part = ["first", "second"][number] if number < 2 else f"known/{who}"
            target = tmp_path / part / f"{who}-{number}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / path, target)
            os.utime(target, (LONG_AGO, LONG_AGO))  # a file of just now is read again whatever is kept
    return tmp_path


def said(photos: Path, query: str, storage: str, method: dict[str, Any]) -> Said:
    """Photos in the order of the answers, with these."""
    raw = {
        "reference": {"source": "folder", "name": "reference", "root": str(photos / "known")},
        "query": {"source": "folder", "name": "query", "root": str(photos / query)},
        "images": {"short_px": 64},
        "leave_one_out_queries": 16,
        "storage": str(photos / storage),
        **method,
    }
    found = identify(IdentifyRun.parse(raw, where="test"), display=Display()).answers("test")
    return [found.rows["path"].iloc[one.row] for one in found.answers], found.answers


def kept(storage: Path) -> set[Path]:
    """Files of prepared photos, features, vectors and of what was learnt."""
    return {
        path for path in storage.rglob("*") if path.suffix in (".pixels", ".npz", ".safetensors", ".json")
    }


@pytest.mark.parametrize("kind", ["lnbnn", "embedding"])
def test_other_photos_are_answered_as_by_a_fresh_run_also_after_a_reference_changed(
    photos: Path, running_ray: Cluster, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is kept does not depend on who does the work, and processes take long to start.
    monkeypatch.setattr(bench.RayBench, "pool", lambda *_: Here())
    method: dict[str, Any] = {"local": "lnbnn"}
    if kind == "embedding":
        network = timm.create_model("test_resnet", pretrained=False, num_classes=0)
        timm.models.save_for_hf(network, photos / "network", safe_serialization=True)
        method = {"model": {"name": "network", "weights": str(photos / "network")}}
    said(photos, "first", "kept", method)
    before = kept(photos / "kept")
    second = said(photos, "second", "kept", method)
    new = kept(photos / "kept") - before
    # Only the new photos were prepared (a file of pixels and what is in it) and looked at (one file).
    assert sorted(path.suffix for path in new) == sorted(
        [".json", ".pixels", ".npz" if kind == "lnbnn" else ".safetensors"]
    )
    assert second == said(photos, "second", "fresh", method)

    changed = sorted((photos / "known").rglob("*.jpg"))[:4]  # an animal's photos, now of what is in a new one
    source = np.asarray(Image.open(sorted((photos / "second").iterdir())[-1]))
    for photo in changed:
        Image.fromarray(255 - source).save(photo, quality=95)
        os.utime(photo, (LONG_AGO + 60, LONG_AGO + 60))
    after = said(photos, "second", "kept", method)
    assert after == said(photos, "second", "fresher", method)
    assert after != second

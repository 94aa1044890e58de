"""A photo that is asked when a gallery is known already gets the answer that a fresh run gives."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import timm
from animals import folder_per_animal

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.config.identify import IdentifyRun
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.identify import identify
from reid_ray.on_ray.retrieval import bench
from reid_ray.progress import Display

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    synthetic = SyntheticDataset(
        source="synthetic", name="zebra", species="zebra", identities=5, photos=6, size_px=96, seed=5
    )
    return folder_per_animal(tmp_path_factory.mktemp("animals") / "all", synthetic)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("network") / "saved"
    model = timm.create_model("test_resnet", pretrained=False, num_classes=0)
    timm.models.save_for_hf(model, folder, safe_serialization=True)
    return str(folder)


def asked(known: Path, new: Path, storage: Path, how: dict[str, Any]) -> dict[str, Any]:
    """Who is said to be in the new photos, by path: with all that a page or a table shows."""
    raw = {
        "reference": {"source": "folder", "name": "reference", "root": str(known)},
        "query": {"source": "folder", "name": "query", "root": str(new)},
        "images": {"short_px": 64},
        "leave_one_out_queries": 20,
        "storage": str(storage),
        **how,
    }
    found = identify(IdentifyRun.parse(raw, where="test"), display=Display())
    paths = found.rows["path"]
    told = found.answers("test")
    assert not told.copies
    return {
        paths.iloc[answer.row]: (
            answer.identity,
            answer.unknown,
            [
                (c.identity, c.probability, None if c.photo is None else paths.iloc[c.photo])
                for c in answer.candidates
            ],
        )
        for answer in told.answers
    }


@pytest.mark.parametrize("how", ["lnbnn", "rootsift", "network", "both"])
def test_answers_of_a_known_gallery_are_those_of_a_fresh_run(
    how: str,
    animals: Path,
    network: str,
    running_ray: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method: dict[str, Any] = {} if how == "network" else {"local": "lnbnn" if how == "both" else how}
    if how in ("network", "both"):
        method["model"] = {"name": "net", "weights": network}
    known = tmp_path / "known"
    shutil.copytree(animals, known)
    of_animal = [sorted(folder.iterdir()) for folder in sorted(known.iterdir())]
    for name, photo in {
        "first": of_animal[0][0],
        "second": of_animal[1][0],
        "third": of_animal[2][0],
    }.items():
        (tmp_path / name).mkdir()
        shutil.move(photo, tmp_path / name / f"{name}.jpg")
    warm, fresh = tmp_path / "warm", tmp_path / "fresh"
    asked(known, tmp_path / "first", warm, method)
    with monkeypatch.context() as patched:
        # Whatever was learnt on the references is learnt: the second photo starts no worker.
        patched.setattr(bench, "starting", lambda **_: lambda: pytest.fail("a worker was started"))
        second = asked(known, tmp_path / "second", warm, method)
    assert second == asked(known, tmp_path / "second", fresh, method)
    # A reference that comes, and one that goes: nothing that was learnt before may stay.
    shutil.copy(tmp_path / "first" / "first.jpg", of_animal[0][0].with_name("new.jpg"))
    of_animal[3][1].unlink()
    changed = asked(known, tmp_path / "third", warm, method)
    assert changed == asked(known, tmp_path / "third", tmp_path / "fresh again", method)
    assert set(changed) == {"third.jpg"}

"""A real training on splits with new and with disjoint animals, without Ray."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Split
from reid_ray.config.training import ArcFace, Trial
from reid_ray.datasets.prepared import Materials, PreparedImages
from reid_ray.embedding.context import Worker
from reid_ray.runs.methods import MethodFolder
from reid_ray.splits.assign import assign
from reid_ray.studies.trial import Plan, run, training_set

TRIAL = Trial(
    backbone="test_resnet",
    loss=ArcFace(name="arcface", margin_rad=0.2, scale=8),
    lr=0.05,
    epochs=1,
    batch_size=16,
    input_px=32,
)
PLAN = Plan("0" * 16, "trial", TRIAL, ("d",), "random", "random weights", 5)


def photos(split: Split) -> tuple[PreparedImages, pd.DataFrame]:
    """Eight animals, each a coat of smooth noise, in six photos each."""
    rng = np.random.default_rng(0)
    images, rows = [], []
    for animal in range(8):
        coat = cv2.resize(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8), (48, 40))
        for photo in range(6):
            images.append(np.clip(coat + rng.normal(0, 12, coat.shape), 0, 255).astype(np.uint8))
            rows.append((f"d/{animal}-{photo}", f"{animal}-{photo}", str(animal)))
    table = pd.DataFrame(rows, columns=["key", "image_id", "identity"])
    table = table.assign(dataset="d", group="d", content=table["key"])
    return PreparedImages.pack(images), assign(table, split).rows


@pytest.mark.parametrize(
    "split",
    [
        Split(kind="open_set", unknown_identities=3),
        Split(kind="open_set", unknown_identities=3, validation_share=0),
    ],
)
def test_queries_of_new_animals_are_answered_with_a_threshold_from_references(
    split: Split, tmp_path: Path
) -> None:
    images, rows = photos(split)
    folder = MethodFolder(tmp_path / PLAN.key)
    result = run(PLAN, Materials(images, rows), Worker(), folder, lambda _: None)
    assert result.status == "finished"
    table = folder.predictions()
    assert table is not None
    assert (~table["known"]).sum() == 18
    assert table["threshold"].between(-1, 1.01).all()
    assert result.metrics["seen/unknown_queries"] == 18
    assert result.metrics["seen/queries"] == (rows["split"] == "query").sum() - 18
    assert 0 <= result.metrics["seen/geometric_low"] <= result.metrics["seen/geometric"]
    # Query photos have no part in the threshold: other queries leave it as it is.
    fewer = rows.copy()
    gone = fewer.index[(fewer["split"] == "query") & ~fewer["identity"].isin(["0"])][1::2]
    fewer.loc[gone, "split"] = "none"
    again = MethodFolder(tmp_path / "again")
    run(PLAN, Materials(images, fewer), Worker(), again, lambda _: None)
    kept = again.predictions()
    assert kept is not None
    assert not kept["known"].all()
    assert kept["threshold"].unique() == table["threshold"].unique()


def test_a_model_of_a_disjoint_set_never_sees_an_animal_it_is_asked_for(tmp_path: Path) -> None:
    images, rows = photos(Split(kind="disjoint_set", test_identities=4))
    learnt = set(rows["identity"].iloc[training_set(rows, images).positions])
    folder = MethodFolder(tmp_path / PLAN.key)
    result = run(PLAN, Materials(images, rows), Worker(), folder, lambda _: None)
    table = folder.predictions()
    assert table is not None
    asked = set(table["identity"])
    assert len(learnt) == len(asked) == 4
    assert not learnt & asked
    assert not {name for names in table["top_identities"] for name in names} & learnt
    assert "val/top1" in result.metrics

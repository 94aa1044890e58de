"""Photos of a synthetic collection that are taken together share all but the moment."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic import make_synthetic
from reid_ray.datasets.synthetic.census import plan_shots
from reid_ray.datasets.synthetic.make import synthetic_digest, synthetic_table


def herd(together: int) -> SyntheticDataset:
    return SyntheticDataset(
        name="z", source="synthetic", species="zebra", identities=3, photos=5, size_px=64, together=together
    )


@pytest.mark.parametrize("size", [2, 3])
def test_an_encounter_has_one_animal_one_day_and_one_place(size: int) -> None:
    shots = plan_shots(herd(size))
    alone = plan_shots(herd(1))
    assert [shot.image_id for shot in shots] == [shot.image_id for shot in alone]
    by = {shot.encounter: [one for one in shots if one.encounter == shot.encounter] for shot in shots}
    assert all(len({(s.animal, s.date, s.place) for s in met}) == 1 for met in by.values())
    assert max(len(met) for met in by.values()) == size
    assert sum(len(met) < size for met in by.values()) <= 3  # at most one rest per animal
    assert len({shot.place for shot in shots}) == len(by)


def test_a_collection_taken_one_by_one_is_the_same_as_ever() -> None:
    assert synthetic_digest(herd(1)) != synthetic_digest(herd(2))
    assert all(shot.place == shot.number for shot in plan_shots(herd(1)))
    assert len(set(synthetic_table(herd(1))["encounter"])) == 15


def test_photos_taken_together_have_one_background(tmp_path: Path) -> None:
    home = make_synthetic(tmp_path, herd(5))
    rows = synthetic_table(herd(5))

    def border(path: str) -> np.ndarray:
        photo = cv2.imread(str(home / path))
        return np.asarray(photo[:8].mean(axis=(0, 1)))

    means = rows.assign(mean=[border(path) for path in rows["path"]])
    within = [np.ptp(np.stack(list(part)), axis=0).max() for _, part in means.groupby("encounter")["mean"]]
    each = np.stack([np.stack(list(part)).mean(axis=0) for _, part in means.groupby("encounter")["mean"]])
    assert np.median(within) < np.ptp(each, axis=0).max()

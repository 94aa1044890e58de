"""A background that tells who it is is noticed, one that does not is not."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Images
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.methods.background import background_scores, background_warning, describe

ANIMALS, PHOTOS = 8, 6


def collection(folder: Path, *, same_place: bool) -> tuple[pd.DataFrame, PreparedImages]:
    """Each animal a plain square of its own colour, at its own place or anywhere."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    places = rng.integers(0, 256, (ANIMALS, 6, 9, 3), dtype=np.uint8)
    rows, photos = [], []
    for animal in range(ANIMALS):
        for number in range(PHOTOS):
            place = animal if same_place else int(rng.integers(ANIMALS))
            photo = cv2.resize(places[place], (72, 48), interpolation=cv2.INTER_LINEAR)
            photo = np.clip(photo + rng.normal(0, 8, photo.shape), 0, 255).astype(np.uint8)
            y, x = rng.integers(4, 24), rng.integers(4, 48)
            photo[y : y + 20, x : x + 20] = 30 * animal
            mask = np.zeros((48, 72), np.uint8)
            mask[y : y + 20, x : x + 20] = 255
            name = f"{animal}-{number}.png"
            cv2.imwrite(str(folder / name), mask)
            split = "query" if number < 2 else "reference"
            rows.append((f"d/{name}", str(animal), split, str(folder), name, name))
            photos.append(photo)
    table = pd.DataFrame(rows, columns=["key", "identity", "split", "root", "path", "mask"])
    table = table.assign(dataset="d", group="d", domain="seen", validation=False)
    return table, PreparedImages.pack(photos)


def test_animals_that_keep_to_their_places_are_told_by_them(tmp_path):
    rows, images = collection(tmp_path / "c", same_place=True)
    [score] = background_scores(rows, images, Images(), boxes=False)
    assert score["top1"] == 1
    assert score["chance"] == pytest.approx(1 / ANIMALS)
    assert score["beats_chance"]
    assert "d: the background alone names 100.0 % of 16 query photos" in background_warning(score)


def test_places_drawn_without_regard_to_the_animal_are_no_better_than_guessing(tmp_path):
    rows, images = collection(tmp_path / "c", same_place=False)
    [score] = background_scores(rows, images, Images(), boxes=False)
    assert not score["beats_chance"]
    assert score["photos"] == ANIMALS * PHOTOS


def test_nothing_under_the_mask_is_seen():
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (48, 72, 3), dtype=np.uint8)
    background = np.ones((48, 72), bool)
    background[10:30, 10:40] = False
    other = photo.copy()
    other[~background] = 255 - other[~background]
    assert np.array_equal(describe(photo, background), describe(other, background))
    assert not np.array_equal(describe(photo, background), describe(255 - photo, background))


def test_photos_without_a_mask_take_no_part(tmp_path):
    rows, images = collection(tmp_path / "c", same_place=True)
    rows.loc[rows["identity"] == "0", "mask"] = ""
    rows.loc[rows["identity"] == "1", "mask"] = "gone.png"
    [score] = background_scores(rows, images, Images(), boxes=False)
    assert score["queries"] == (ANIMALS - 2) * 2
    assert score["chance"] == pytest.approx(1 / (ANIMALS - 2))
    assert background_scores(rows.drop(columns="mask"), images, Images(), boxes=False) == []

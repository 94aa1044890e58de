"""Who is known and who asks: what is answered together, and what is said where that was not told."""

import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import EncounterFrom
from reid_ray.config.identify import IdentifyRun
from reid_ray.datasets.encounters import derive_encounters
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.on_ray.album import Album


def album_of(*, per_encounter: bool = True, told: bool = False) -> Album:
    """Two animals, each known from two sightings of two photos; a sighting of two photos is new."""
    paths = [f"{a}/{s}_{side}.jpg" for s, a in enumerate("aabb") for side in ("left", "right")]
    rows = pd.DataFrame(
        {
            "path": [*paths, "9_left.jpg", "9_right.jpg"],
            "identity": [*(path[0] for path in paths), "unknown", "unknown"],
            "dataset": ["reference"] * 8 + ["query"] * 2,
            "content": [str(n) for n in range(10)],
        }
    )
    run = IdentifyRun.parse(
        {
            "reference": {"source": "folder", "name": "reference", "root": "/known"},
            "query": {"source": "folder", "name": "query", "root": "/new"},
            "local": "sift",
            "per_encounter": per_encounter,
        },
        where="test",
    )
    if told:
        rows["encounter"] = derive_encounters(rows, EncounterFrom(pattern=r"(\d+)_[^/]*$"), dataset="x")
    nothing = PreparedImages.pack(np.zeros((2, 2, 3), np.uint8) for _ in range(10))
    return Album.of(run, nothing, rows)


def test_photos_of_one_encounter_are_one_sighting_and_its_references_do_not_answer() -> None:
    album = album_of(told=True)
    assert album.bursts
    assert album.sighting_n[8] == album.sighting_n[9]
    assert len(np.unique(album.sighting_n)) == 5
    out = album.left_out(album.references)
    assert out.sum(axis=1).tolist() == [2] * 8  # itself, and the other flank


@pytest.mark.parametrize(("per_encounter", "told"), [(False, True), (True, False)])
def test_otherwise_every_photo_stands_by_itself(per_encounter: bool, told: bool) -> None:
    album = album_of(per_encounter=per_encounter, told=told)
    assert not album.bursts
    assert len(np.unique(album.sighting_n)) == 10


def test_names_that_tell_what_was_taken_together_are_pointed_at() -> None:
    said = album_of().bursts_not_told()
    assert said is not None
    assert "0_left.jpg and 0_right.jpg seem to belong together" in said
    assert "--set \"query.encounter_from.pattern='" in said
    assert album_of(told=True).bursts_not_told() is None

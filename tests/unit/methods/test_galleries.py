"""Who is asked, who answers, and who must not."""

import numpy as np
import pandas as pd
from collection import gallery_of, table

from reid_ray.methods.gallery import Gallery, galleries


def small() -> Gallery:
    """References a a a b, the first two of one encounter, the third a copy of the fourth's file; query a."""
    rows = pd.DataFrame(
        {
            "identity": ["a", "a", "a", "b", "a"],
            "encounter": ["7", "7", "", "", "7"],
            "content": ["1", "2", "3", "3", "4"],
            "dataset": "d",
        }
    )
    return Gallery.of(rows, np.arange(4), np.array([4]), name="d")


def test_a_reference_is_never_answered_by_itself_or_a_copy_of_its_file() -> None:
    out = small().excluded(np.arange(4), encounter=False)
    assert out.astype(int).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]


def test_its_encounter_its_animal_and_hidden_photos_can_be_left_out() -> None:
    gallery = small()
    assert gallery.excluded(np.array([0, 4]), encounter=True).astype(int).tolist() == [
        [1, 1, 0, 0],
        [1, 1, 0, 0],
    ]
    assert gallery.excluded(np.array([3]), encounter=False, withheld=True).astype(int).tolist() == [
        [0, 0, 1, 1]
    ]
    assert gallery.excluded(np.array([4]), encounter=False, withheld=True).astype(int).tolist() == [
        [1, 1, 1, 0]
    ]
    hidden = np.array([False, False, False, True])
    assert gallery.excluded(np.array([1]), encounter=False, hidden_g=hidden).astype(int).tolist() == [
        [0, 1, 0, 1]
    ]


def test_names_of_two_collections_are_two_animals_unless_they_are_merged() -> None:
    rows = pd.DataFrame({"identity": ["a", "a", "a"], "dataset": ["d", "e", "e"]})
    apart = Gallery.of(rows, np.array([0, 1]), np.array([2]), name="x")
    assert len(set(apart.labels.tolist())) == 2
    merged = Gallery.of(rows, np.array([0, 1]), np.array([2]), name="x", merged=True)
    assert len(set(merged.labels.tolist())) == 1


def test_a_fingerprint_is_of_files_and_names_not_of_paths_or_order() -> None:
    rows = table()
    one = gallery_of(rows)
    moved = gallery_of(
        rows.assign(root="/elsewhere", path="x", dataset="other").iloc[::-1].reset_index(drop=True)
    )
    assert one.fingerprint == moved.fingerprint
    renamed = rows.copy()
    renamed.loc[0, "identity"] = "another"
    assert gallery_of(renamed).fingerprint != one.fingerprint
    queries = rows["split"].eq("query")
    changed = rows.assign(content=rows["content"].where(~queries, "ffff"))
    assert gallery_of(changed).fingerprint == one.fingerprint


def test_validation_asks_held_out_references_among_those_that_were_trained_on() -> None:
    rows = table()
    (gallery,) = galleries(rows, validation=True)
    asked, among = gallery.photos[gallery.references :], gallery.photos[: gallery.references]
    assert rows["validation"].iloc[asked].all()
    assert not rows["validation"].iloc[among].any()
    assert set(rows["split"].iloc[gallery.photos]) == {"reference"}
    assert not list(galleries(rows.assign(domain="unseen"), validation=True))

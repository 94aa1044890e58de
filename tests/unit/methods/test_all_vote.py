"""Photos of the other side can vote without answering, where references are named better so."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from reid_ray.config.candidate_sets import CandidateSets
from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.methods.bench import InProcess
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.local_features import LocalFeatures

VOTES = {"score": "lnbnn", "neighbours": [1], "distances": ["squared"], "viewpoint": "only"}
GROUPS = 3
FAR = 1000.0
"""Between groups, whose photos get no votes of each other's."""

# (animal, side, values of its descriptors); the first one is asked. Its three descriptors at 10 are nearest
# to a photo of the other side, then to the one at 14: without the former that one gets 3 x (2500 - 16) votes,
# with it none. The descriptor at 100 gives 1600 - 1 votes to the photo at 101 either way.
SHARED = [
    ("a", "left", (10, 10, 10, 100)),
    ("a", "right", (10,)),
    ("b", "left", (14,)),
    ("a", "left", (101,)),
]
SHARED += [("c", "left", (60,))]
STOLEN = [
    ("a", "left", (10, 10, 10, 100)),
    ("d", "right", (10,)),
    ("a", "left", (14,)),
    ("b", "left", (101,)),
]
STOLEN += [("c", "left", (60,))]


NEITHER = [
    ("a", "left", (10,)),
    ("a", "left", (11,)),
    ("b", "right", (30,)),
    ("b", "left", (31,)),
    ("c", "left", (60,)),
]


def image(values: tuple[float, ...], group: int) -> ImageFeatures:
    descriptors = np.zeros((len(values), 4), np.float32)
    descriptors[:, 0] = np.array(values) + FAR * group
    zeros = np.zeros(len(values), np.float32)
    return ImageFeatures(descriptors, np.zeros((len(values), 2), np.float32), zeros, zeros, (9, 9))


@dataclass(frozen=True)
class Given(InProcess):
    """Features that are given, a photo per row."""

    photos: Any = None

    def features(self, positions: np.ndarray, config: Matching) -> Features:
        return Features.pack(self.photos[int(at)] for at in positions)


def collection(
    kind: list[Any], query: list[Any], folder: Path, others: list[Any] | None = None
) -> tuple[Gallery, Given]:
    """Groups of one kind as references; the first photo of the other kind, in a group of its own with its
    references, as the query.

    Args:
        others: what all groups but the first are instead.
    """
    rows, photos = [], []
    for group in range(GROUPS):
        for animal, side, values in others if others and group else kind:
            rows.append((f"{animal}{group}", side, "reference"))
            photos.append(image(values, group))
    for number, (animal, side, values) in enumerate(query):
        rows.append((f"{animal}{GROUPS}", side, "reference" if number else "query"))
        photos.append(image(values, GROUPS))
    table = pd.DataFrame(rows, columns=["identity", "orientation", "split"])
    table = table.assign(dataset="d", content=[f"{n:04x}" for n in range(len(table))])
    parts = [np.flatnonzero(table["split"] == part) for part in ("reference", "query")]
    return Gallery.of(table, *parts, name="d"), Given(PreparedImages.pack([]), folder, photos=photos)


def named(gallery: Gallery, bench: Given, **learnt: Any) -> tuple[bool, str, list[float]]:
    method = LocalFeatures(Matching.parse(VOTES, where="test"))
    had = {gallery.fingerprint: learnt} if learnt else None
    (ready,) = method.prepare([gallery], bench, learnt=had)
    ranked, _ = ready.rank(bench, gallery.queries, k=20)
    return ready.gallery.all_vote, str(ranked.first_correct[0] == 1), ranked.top_score[0].tolist()


@pytest.mark.parametrize(("kind", "all_vote"), [(SHARED, True), (STOLEN, False)])
def test_references_decide_whether_the_other_side_votes_whatever_the_queries_are(
    kind: list[Any], all_vote: bool, tmp_path: Path
) -> None:
    for query in (SHARED, STOLEN):
        gallery, bench = collection(kind, query, tmp_path)
        chosen, right, _ = named(gallery, bench)
        assert chosen == all_vote
        assert right == str((query is SHARED) == all_vote)


def test_one_reference_that_is_named_better_is_not_enough_to_match_all_pairs(tmp_path: Path) -> None:
    gallery, bench = collection(SHARED, NEITHER, tmp_path, others=NEITHER)
    assert not named(gallery, bench)[0]


def test_votes_are_those_counted_by_hand_and_the_other_side_never_answers(tmp_path: Path) -> None:
    gallery, bench = collection(SHARED, SHARED, tmp_path)
    setting = {
        "setting": {"threshold": 1.0, "neighbours": 1, "distance": "squared"},
        "top1": [],
        "looked_up": 0,
    }
    learnt = {"extractor": 0, "settings": [setting, setting]}
    left_out = named(gallery, bench, **learnt)[2]
    assert left_out[:2] == [3 * (2500 - 16), 1600 - 1]
    voting = named(gallery, bench, **learnt, all_vote=True)[2]
    assert voting[:2] == [1600 - 1, 0]
    sided = gallery.under(CandidateSets(viewpoint="only"))
    mute = replace(sided, all_vote=True)
    asked = gallery.queries
    out = mute.excluded(asked, encounter=False)
    assert not out.any()
    np.testing.assert_array_equal(mute.silent(asked, out), sided.excluded(asked, encounter=False))
    assert mute.silent(asked, out).sum() == GROUPS + 1
    assert np.isfinite(voting).sum() == gallery.references - GROUPS - 1


def test_nothing_is_compared_where_no_photo_is_left_out_or_scores_do_not_depend_on_others(
    tmp_path: Path,
) -> None:
    gallery, _ = collection(SHARED, STOLEN, tmp_path)
    same = gallery.under(CandidateSets(location="only"))
    sided = gallery.under(CandidateSets(viewpoint="only"))
    lnbnn = LocalFeatures(Matching.parse(VOTES, where="test"))
    counts = LocalFeatures(Matching(viewpoint="only"))
    assert lnbnn._votes_differ(sided)
    assert not lnbnn._votes_differ(same)
    assert not counts._votes_differ(sided)

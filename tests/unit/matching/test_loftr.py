"""LoFTR: photos go through cells and back unharmed, and it matches what kornia's class does."""

from pathlib import Path
from typing import Any

import cv2
import kornia.feature
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from reid_ray.config.matching import Cells, LoFTR, MatchedShortlist, Matching
from reid_ray.errors import ConfigError, WeightsError
from reid_ray.matching import loftr
from reid_ray.matching.extract import check_weights, extract
from reid_ray.matching.features import Features
from reid_ray.matching.store import load_or_extract

CELLS = Cells(kind="cells")


def photos() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (h // 6, w // 6, 3), dtype=np.uint8) for h, w in [(70, 91), (64, 96)]]
    return [
        np.asarray(cv2.resize(one, size, interpolation=cv2.INTER_CUBIC), np.uint8)
        for one, size in zip(coarse, [(91, 70), (96, 64)], strict=True)
    ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random ones, as the authors' file names them."""
    torch.manual_seed(0)
    state = kornia.feature.LoFTR(None).state_dict()
    path = tmp_path_factory.mktemp("weights") / "loftr_outdoor.ckpt"
    torch.save({"state_dict": {f"matcher.{name}": value for name, value in state.items()}}, path)
    return path


def test_a_photo_is_the_same_after_it_was_cut_into_cells_and_kept(tmp_path: Path) -> None:
    found = load_or_extract(tmp_path, photos(), CELLS)
    assert found.keypoints.tolist() == [9 * 12, 8 * 12]
    for place, photo in enumerate(photos()):
        grey, number = loftr.picture(found.image(place))
        np.testing.assert_array_equal(grey, cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY))
        assert number.tolist() == list(range(found.keypoints[place]))
    assert found.image(0).points_xy[:2].tolist() == [[4, 4], [12, 4]]


def test_cells_outside_the_animal_are_black_and_match_nothing() -> None:
    whole = extract(photos()[:1], CELLS).image(0)
    left_half = np.zeros((70, 91), bool)
    left_half[:, :40] = True
    grey, number = loftr.picture(whole.outside(left_half))
    assert not grey[:, :40].any()
    np.testing.assert_array_equal(grey[:, 40:], loftr.picture(whole)[0][:, 40:])
    assert (number.reshape(9, 12)[:, :5] == -1).all()
    assert number.max() == 9 * 7 - 1


def test_matches_are_kornias(weights: Path) -> None:
    features = extract([*photos(), photos()[0]], CELLS)
    images = [features.image(place) for place in range(3)]
    theirs: Any = kornia.feature.LoFTR(None).eval()
    state = torch.load(weights, weights_only=True)["state_dict"]
    theirs.load_state_dict({name.removeprefix("matcher."): value for name, value in state.items()})
    theirs.coarse_matching.thr = 0.0
    greys = [torch.from_numpy(loftr.picture(one)[0].copy())[None, None] / 255 for one in images]
    with torch.inference_mode():
        pairs = [theirs({"image0": greys[0], "image1": one}) for one in greys]
    least = float(torch.cat([one["confidence"] for one in pairs]).median())
    found = loftr.match_pairs(
        images[0], images, LoFTR(model="loftr", weights=str(weights), least_score=least)
    )
    for own, expected in zip(found, pairs, strict=True):
        sure = expected["confidence"] > least
        first = (expected["keypoints0"][sure] / 8).round().long()
        assert own[:, 0].tolist() == (first[:, 1] * 12 + first[:, 0]).tolist()
    assert found[0].tolist() == found[2].tolist()
    assert len(found[0]) > 5
    # A photo and itself: a cell matches itself, where the fine stage moves it by less than half a cell.
    assert (found[0][:, 0] == found[0][:, 1]).mean() > 0.5


def test_other_weights_and_other_features_are_refused(weights: Path, tmp_path: Path) -> None:
    def matching(path: Path) -> Matching:
        look = LoFTR(model="loftr", weights=str(path))
        return Matching(extractor=CELLS, verify=look, shortlist=MatchedShortlist(by="SIFT"))

    check_weights(matching(weights))
    check_weights(matching(weights.parent))
    with pytest.raises(WeightsError, match=r"no such weights file.*LoFTR's outdoor weights.*cmp\.felk"):
        check_weights(matching(tmp_path))
    torch.save(kornia.feature.DISK().state_dict(), tmp_path / "d.pth")
    with pytest.raises(WeightsError, match=r"no tensor 'backbone.*LoFTR's outdoor"):
        check_weights(matching(tmp_path / "d.pth"))
    look = {"model": "loftr", "weights": "w"}
    with pytest.raises(ConfigError, match="give a shortlist"):
        Matching.parse({"extractor": {"kind": "cells"}, "verify": look}, where="test")
    for raw in ({"verify": look}, {"extractor": {"kind": "cells"}}):
        with pytest.raises(ConfigError, match="together, or neither"):
            Matching.parse(raw | {"shortlist": {"by": "SIFT"}}, where="test")


def test_features_of_photos_can_be_taken_apart_and_joined() -> None:
    both = extract(photos(), CELLS)
    again = Features.concat([both.take([1]), both.take([0])])
    np.testing.assert_array_equal(loftr.picture(again.image(1))[0], loftr.picture(both.image(0))[0])

"""What a look ahead says about time is what was measured, for the pairs that a study has."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from reid_ray.config.datasets import Images
from reid_ray.config.matching import Aliked, MatchedShortlist, Matching
from reid_ray.studies import pace

ROWS = pd.DataFrame(
    {"dataset": ["a"] * 50 + ["b"] * 10, "split": ["reference"] * 40 + ["query"] * 10 + ["reference"] * 10}
)
TUNED = Matching.parse({"name": "SIFT", "leave_one_out_queries": 20}, where="test")


def test_choosing_settings_costs_its_leave_one_out_queries() -> None:
    """20 of the 40 references of a, all 10 of b: 20 x 40 + 10 x 10; nothing where there is no choice."""
    assert pace.choosing_pairs(TUNED, ROWS) == 900
    behind = TUNED.model_copy(update={"shortlist": MatchedShortlist(by="vlad", size=5, curve="none")})
    assert pace.choosing_pairs(behind, ROWS) == 20 * 5 + 10 * 5
    assert pace.choosing_pairs(TUNED.model_copy(update={"thresholds": (0.6,)}), ROWS) == 0


def test_time_is_pairs_by_rate_and_cores_and_a_long_one_is_warned_of() -> None:
    """400 pairs of queries and 900 to choose settings, at 1 a second on 2 cores: 650 s, about 11 minutes."""
    said = pace.cost(TUNED, ROWS, 1.0, 2)
    assert "about 11 minutes on 2 cores" in said
    assert "shortlist" not in said
    assert "about 9 hours" in pace.cost(TUNED, ROWS, 0.02, 2)
    assert "shortlist: {by: vlad" in pace.cost(TUNED, ROWS, 0.02, 2)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "1 seconds"), (119, "119 seconds"), (7199, "120 minutes"), (172800, "2 days")]
)
def test_durations_are_said_in_the_largest_unit_of_which_there_are_two(seconds: float, said: str) -> None:
    assert pace.clock(seconds) == said


def test_photos_that_cannot_be_read_are_left_out_and_too_few_are_not_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        blobs = cv2.GaussianBlur(rng.integers(0, 256, (90, 120, 3), np.uint8), (0, 0), 2)
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.normalize(blobs, None, 0, 255, cv2.NORM_MINMAX))
    names = [*(f"{number}.png" for number in range(6)), "missing.png"]
    rows = pd.DataFrame({"root": str(tmp_path), "path": names})
    photos = pace.sample(rows, Images(short_px=64))
    assert [photo.shape for photo in photos] == [(64, 85, 3)] * 6
    rate = pace.pairs_per_second(TUNED, photos)
    assert rate is not None
    assert rate > 0
    assert pace.pairs_per_second(TUNED, photos[:3]) is None
    learned = TUNED.model_copy(update={"extractor": Aliked(kind="aliked", weights="none.pth")})
    assert pace.pairs_per_second(learned, photos) is None

"""The config to start from is one that a study reads, and that ends in time."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from reid_ray.config.tune import Study
from reid_ray.datasets.understand import understand
from reid_ray.reporting.advice import MOST_PAIRS, starter


@pytest.mark.parametrize(("pairs", "shortlist"), [(MOST_PAIRS, None), (MOST_PAIRS + 1, "vlad")])
def test_local_features_get_a_shortlist_where_all_pairs_would_take_days(
    tmp_path: Path, pairs: int, shortlist: str | None
) -> None:
    for animal in ("ada", "bo"):
        (tmp_path / animal).mkdir()
        for number in range(3):
            Image.new("RGB", (64, 64)).save(tmp_path / animal / f"{number}.jpg")
    text = starter(understand(str(tmp_path)), pairs=pairs)
    study = Study.parse(yaml.safe_load(text), where="test")
    found = [one.shortlist.by if one.shortlist else None for one in study.baselines.matching]
    assert found == [shortlist, shortlist]

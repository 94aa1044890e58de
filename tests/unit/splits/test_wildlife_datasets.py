"""Every kind of split has the rows that wildlife-datasets 1.0.8 itself gives."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from reid_ray.config.datasets import Split
from reid_ray.splits.assign import assign

GOLDEN = Path(__file__).parents[2] / "golden" / "splits_of_wildlife_datasets.py"
SCRIPT = runpy.run_path(str(GOLDEN))
CASES = json.loads(GOLDEN.with_suffix(".json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_the_rows_are_theirs(case: dict[str, Any]) -> None:
    rows = SCRIPT["table"](case["table"]).assign(dataset="d", group="d", root="", encounter="")
    rows = rows.assign(key="d/" + rows["image_id"], path=rows["image_id"])
    split = Split(**case["split"], validation_share=0.0, on_leak="report")
    found = assign(rows, split).rows["split"]
    if case["split"]["kind"] == "disjoint_set":  # there nobody is searched: the sides are learnt from or not
        found = found.replace({"reference": "test", "query": "test"})
    else:
        found = found.replace({"reference": "train", "query": "test"})
    for side in ("train", "test"):
        assert sorted(rows.index[found == side]) == case[side]

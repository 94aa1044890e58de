"""Photos that cannot be read are told with the reason, also where no other photo is left."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pandas as pd
import pytest

from reid_ray.config.identify import IdentifyRun
from reid_ray.errors import DatasetError
from reid_ray.on_ray.identify import _Run


def test_where_no_photo_can_be_read_the_reason_is_told() -> None:
    """As on the review page, where the only photo that was dropped is damaged."""
    raw = {
        "reference": {"source": "folder", "name": "reference", "root": "/known"},
        "query": {"source": "folder", "name": "query", "root": "/new"},
        "local": "lnbnn",
    }
    run = IdentifyRun.parse(raw, where="test")
    rows = pd.DataFrame({"dataset": ["reference"], "identity": ["leo"], "path": ["leo/1.jpg"]})
    bench = SimpleNamespace(materials=SimpleNamespace(rows=rows))
    bad = pd.DataFrame(
        {"dataset": ["query"], "path": ["p.heic"], "reason": ["HEIC file that cannot be decoded"]}
    )
    asked = _Run(run, Mock(), None, cast(Any, bench), Mock(), Path(), bad)
    with pytest.raises(DatasetError, match=r"no photo to name could be read: p\.heic: HEIC file"):
        asked.answers()

"""What tests of faults share: a seed that can be changed, and a record of what was lost."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faulty import Record


@pytest.fixture
def rng() -> np.random.Generator:
    """Another one with another $FAULT_SEED; `table.py` runs each test with several."""
    return np.random.default_rng(int(os.environ.get("FAULT_SEED", "0")))


@pytest.fixture
def record() -> Record:
    """Write a line of `reports/faults.md`, if $FAULT_RECORDS names the file for it.

    Called when a test has seen that everything was kept, with `fault`, `how` it was produced, `tried`
    and `survived`, and what was lost: `epochs`, `pairs`, `trials`; `doubled`: done or copied twice.
    """

    def write(fault: str, how: str, *, tried: int, survived: int, **lost: Any) -> None:
        assert survived == tried
        line = {"fault": fault, "how": how, "tried": tried, "survived": survived, **lost}
        if path := os.environ.get("FAULT_RECORDS"):
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    return write

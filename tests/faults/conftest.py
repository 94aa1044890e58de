"""What tests of faults share: a seed that can be changed, and a record of what was lost."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faulty import Record, mounted, write_record


@pytest.fixture
def rng() -> np.random.Generator:
    """Another one with another $FAULT_SEED; `table.py` runs each test with several."""
    return np.random.default_rng(int(os.environ.get("FAULT_SEED", "0")))


@pytest.fixture
def record() -> Record:
    """See `write_record`."""
    return write_record


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of half a MiB."""
    with mounted(tmp_path / "disk", kib=512) as folder:
        yield folder

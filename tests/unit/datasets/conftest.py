"""What several tests of datasets start from."""

from collections.abc import Callable
from pathlib import Path

import pytest
from photo_files import encoded, picture


@pytest.fixture
def write_photo() -> Callable[..., Path]:
    def write(path: Path, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(seed), "JPEG"))
        return path

    return write

"""Real photos, where they are."""

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(os.environ.get("REID_RAY_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_photos() -> list[NDArray[np.uint8]]:
    """40 photos of NyalaDev with their shorter side at 256, as the paper prepares them."""
    folder = DATA / "NyalaDev" / "images"
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder} (set REID_RAY_DATA)")
    from reid_ray.datasets.images import open_photo, prepare

    paths = sorted(folder.rglob("*.jpg"))[::18][:40]
    return [
        prepare(open_photo(str(folder), path.relative_to(folder).as_posix(), max_pixels=10**8), short_px=256)
        for path in paths
    ]

"""Settings of all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all tests on Ray in one process, which starts it once, and each other file in one."""
    for item in items:
        on_ray = "ray" in Path(item.path).parts
        item.add_marker(pytest.mark.xdist_group("ray" if on_ray else str(item.path)))

"""Settings of all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("any_machine", deadline=None)
settings.load_profile("any_machine")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep all tests on Ray in one process, which starts it once, and each other file in one.

    Leave out those marked `soak` where `-m` does not ask for them.
    """
    if "soak" not in config.option.markexpr:
        soaks = [item for item in items if item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=soaks)
        items[:] = [item for item in items if item not in soaks]
    for item in items:
        on_ray = "ray" in Path(item.path).parts
        item.add_marker(pytest.mark.xdist_group("ray" if on_ray else item.path.stem))

"""One Ray for all tests of this folder."""

from collections.abc import Iterator

import pytest

from reid_ray.on_ray.cluster.session import Cluster, cluster


@pytest.fixture(scope="session")
def running_ray() -> Iterator[Cluster]:
    with cluster() as resources:
        yield resources

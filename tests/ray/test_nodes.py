"""Every node of a running Ray is asked."""

from pathlib import Path

import pytest

from reid_ray.on_ray.cluster.doctor import _cluster
from reid_ray.on_ray.cluster.session import Cluster

pytestmark = pytest.mark.ray


def test_each_node_says_that_it_sees_the_storage(running_ray: Cluster, tmp_path: Path) -> None:
    checks = list(_cluster(tmp_path))
    assert [check.status for check in checks] == ["ok", "ok"], checks
    assert checks[0].what == "Ray"
    assert checks[1].what.startswith("node ")
    assert list(tmp_path.iterdir()) == []

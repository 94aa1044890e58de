"""Processes that Ray starts by the dozen load what they need and no more: torch takes seconds, timm more."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("process", "modules"),
    [
        ("prepares photos", "reid_ray.on_ray.photos"),
        (
            "matches local features",
            "reid_ray.on_ray.actors.pool, reid_ray.on_ray.retrieval.prepare, reid_ray.methods.fusion, "
            "reid_ray.matching.engine",
        ),
        ("names photos by local features", "reid_ray.on_ray.identify, reid_ray.on_ray.naming"),
    ],
)
def test_a_process_that_runs_no_network_loads_no_library_of_networks(process: str, modules: str) -> None:
    heavy = {"torch", "timm", "pytorch_metric_learning"}
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]", process

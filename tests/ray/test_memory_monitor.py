"""Ray's memory monitor ends workers for real: a sentence says what to lower, and the next start goes on."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from small_study import study_of

pytestmark = [pytest.mark.ray, pytest.mark.soak]


def test_workers_that_the_memory_monitor_ends_are_told_in_a_sentence(tmp_path: Path) -> None:
    study = study_of(
        tmp_path, grid=None, baselines={"matching": [{"name": "SIFT"}], "random_init": False}, fusion=[]
    )
    (tmp_path / "small.yaml").write_text(study.model_dump_json())
    used = psutil.virtual_memory().percent / 100
    command = [sys.executable, "-m", "reid_ray.tune", str(tmp_path / "small.yaml")]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    tight = {"RAY_memory_usage_threshold": f"{used / 4:.3f}", "RAY_memory_monitor_refresh_ms": "50"}
    with tempfile.TemporaryDirectory(prefix="t") as temporary:
        environment["TMPDIR"] = temporary
        ended = subprocess.run(
            command, env=environment | tight, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        told = ended.stdout + ended.stderr
        assert ended.returncode == 1, told
        assert "memory" in told
        assert "fault of the program" not in told
        assert "Traceback" not in told
        assert "Memory on the node" not in told, "Ray's dump of other people's commands stays in its log"
        again = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    assert again.returncode == 0, again.stderr

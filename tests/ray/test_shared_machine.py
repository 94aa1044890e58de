"""A study on a machine that others use: nobody else reaches its Ray, and nothing of it is left."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.ray

LOOK = """
import json, os, stat, sys
from pathlib import Path
import psutil
from reid_ray.on_ray.cluster.session import cluster
import ray

with cluster():
    ray.get(ray.remote(lambda: os.getpid()).remote())
    folder = Path(ray._private.worker._global_node.temp_dir)
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    heard = {c.laddr.ip for one in ours for c in one.net_connections() if c.status == "LISTEN"}
    commands = " ".join(" ".join(one.cmdline()) for one in ours[1:])
    token = os.environ["RAY_AUTH_TOKEN"]
    print(json.dumps({
        "folder": str(folder), "mode": stat.S_IMODE(folder.parent.stat().st_mode), "heard": sorted(heard),
        "in_commands": token in commands, "length": len(token), "auth": os.environ["RAY_AUTH_MODE"],
    }))
left = folder.parent.exists()
print(json.dumps({"left": left, "names": [n for n in os.environ if n.startswith("RAY_AUTH")]}))
"""


def test_an_embedded_ray_is_for_its_user_alone_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="t", ignore_cleanup_errors=True) as temporary:
        ran = subprocess.run(
            [sys.executable, "-c", LOOK],
            env=environment | {"TMPDIR": temporary},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        lines = ran.stdout.splitlines()
        during, after = json.loads(lines[-2]), json.loads(lines[-1])
        assert during["folder"].startswith(temporary)
        assert during["mode"] == 0o700
        assert set(during["heard"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        assert (during["auth"], during["length"], during["in_commands"]) == ("token", 64, False)
        assert after == {"left": False, "names": []}
        assert not list(Path(temporary).iterdir())

"""Studies on two nodes of two CPUs each, with a stand-in for a GPU; prints what came of each as JSON.

    python on_cards.py FOLDER

Where CUDA is pretended, a process that is given a GPU notes that in given.txt, and computes on its CPU.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from small_study import run, study_of

from reid_ray.errors import ReidError
from reid_ray.on_ray.cluster.session import _QUIET_ENVIRONMENT


def pretend() -> None:
    """In each process of Ray. The first training waits for that on the other card, however slowly it starts:
    Tune would give all trainings to the process that is there first.
    """
    import os
    import time
    from pathlib import Path

    import ray

    real, file = ray.get_gpu_ids, Path(os.environ["GIVEN"])

    def noted() -> list[int]:
        if given := real():
            with file.open("a") as opened:
                opened.write(f"{ray.get_runtime_context().get_node_id()} {given} {os.getpid()}\n")
            ends = time.monotonic() + 120
            while len({line.split()[0] for line in file.read_text().splitlines()}) < 2:
                if time.monotonic() > ends:
                    break
                time.sleep(0.1)
        return []

    ray.get_gpu_ids = noted


def main(folder: Path) -> None:
    os.environ |= {**_QUIET_ENVIRONMENT, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    # Processes of Ray that are still ending may write there.
    with tempfile.TemporaryDirectory(prefix="oc", ignore_cleanup_errors=True) as short:
        # Whoever called may have a folder of its own in TMPDIR, where Ray would look for its address.
        os.environ["RAY_TMPDIR"] = short
        local = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            local.add_node(num_cpus=2, num_gpus=1)
        try:
            found = {
                "too large": outcome_of(folder / "large", local.address, pretended=True, cpus_per_worker=3),
                "pretended": outcome_of(folder / "pretended", local.address, pretended=True),
                "without CUDA": outcome_of(folder / "without", local.address, pretended=False),
            }
        finally:
            local.shutdown()
    print(json.dumps(found))


def outcome_of(folder: Path, address: str, *, pretended: bool, cpus_per_worker: int = 1) -> dict[str, Any]:
    folder.mkdir()
    study = study_of(
        folder,
        grid={
            "backbones": ["test_resnet"],
            "lrs": [0.05, 0.02, 0.01, 0.005],
            "arcface": {"margins_rad": [0.25], "scales": [16.0]},
            "triplet": None,
        },
        baselines={"random_init": False, "matching": [{"name": "SIFT"}]},
        fusion=[],
        scaling={"cpus_per_worker": cpus_per_worker, "confirmation_workers": 0},
    )
    given = {"env_vars": {"GIVEN": str(folder / "given.txt")}, "worker_process_setup_hook": pretend}
    ray.init(
        address=address, log_to_driver=False, logging_level="ERROR", runtime_env=given if pretended else None
    )
    try:
        record = run(study)[0].record
    except ReidError as error:
        return {"error": str(error), "kind": type(error).__name__}
    finally:
        ray.shutdown()
    ended = [one.result for one in record.methods]
    methods = {one.method: (one.kind, one.started_at, one.started_at + one.seconds) for one in ended}
    return {"methods": methods, "failed": {one.method: one.note for one in record.failed()}}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

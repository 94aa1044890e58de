"""A study on two nodes of two CPUs each, with a stand-in for a GPU; prints what came of it as JSON.

    python on_cards.py FOLDER cpus_per_worker CUDA

CUDA `pretended`: a process that is given a GPU notes that in FOLDER/given.txt, and computes on its CPU.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from small_study import run, study_of

from reid_ray.errors import ReidError
from reid_ray.on_ray.cluster.session import _QUIET_ENVIRONMENT


def pretend() -> None:
    """In each process of Ray."""
    import os
    from pathlib import Path

    import ray

    real = ray.get_gpu_ids

    def noted() -> list[int]:
        if given := real():
            line = f"{ray.get_runtime_context().get_node_id()} {given} {os.getpid()}\n"
            with Path(os.environ["GIVEN"]).open("a") as file:
                file.write(line)
        return []

    ray.get_gpu_ids = noted


def main(folder: Path, cpus_per_worker: int, cuda: str) -> None:
    os.environ |= {**_QUIET_ENVIRONMENT, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    pretended = {"env_vars": {"GIVEN": str(folder / "given.txt")}, "worker_process_setup_hook": pretend}
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
    with tempfile.TemporaryDirectory(prefix="oc") as short:
        # Whoever called may have a folder of its own in TMPDIR, where Ray would look for its address.
        os.environ["RAY_TMPDIR"] = short
        local = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            local.add_node(num_cpus=2, num_gpus=1)
        ray.init(
            address=local.address,
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env=pretended if cuda == "pretended" else None,
        )
        try:
            outcome, _ = run(study)
        except ReidError as error:
            print(json.dumps({"error": str(error), "kind": type(error).__name__}))
            return
        finally:
            ray.shutdown()
            local.shutdown()
    found = {
        one.result.method: (
            one.result.kind,
            one.result.started_at,
            one.result.started_at + one.result.seconds,
        )
        for one in outcome.record.methods
    }
    print(json.dumps({"methods": found, "failed": {one.method: one.note for one in outcome.record.failed()}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])

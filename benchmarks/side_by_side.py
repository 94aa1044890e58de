"""A study on a GPU whose matching takes about half as long as its trainings: one after the other, and beside.

    python benchmarks/side_by_side.py [--photos 600] [--epochs 12]

The GPU is a stand-in: Ray is told of one, and each training takes one CPU in its place. Of two CPUs
trainings leave one. Prints how long the methods of the study took either way, when matching and each trial
ran, and how long the card was free while a trial waited for it.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

CPUS = 2


def study(folder: Path, name: str, *, photos: int, epochs: int) -> Any:
    from reid_ray.config.tune import Study

    synthetic = {"source": "synthetic", "identities": 16, "photos": photos // 16, "size_px": 256}
    raw = {
        "name": name,
        "data": {"datasets": [{**synthetic, "name": "zebra", "species": "zebra"}]}
        | {"images": {"short_px": 256}},
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.05, 0.02],
            "arcface": {"margins_rad": [0.5], "scales": [16.0]},
            "triplet": None,
        },
        "training": {"weights": "random", "input_px": 128, "epochs": epochs, "batch_size": 32},
        "baselines": {"random_init": False, "matching": [{"name": "SIFT"}]},
        "scaling": {"cpus_per_worker": 1, "confirmation_workers": 0},
        "storage": str(folder),
        "reports": str(folder / "reports"),
    }
    return Study.parse(raw, where="side by side")


def no_card() -> None:
    """In each worker: it was given a GPU that is none, so it trains on its CPU."""
    import ray

    ray.get_gpu_ids = list


def measure(chosen: Any, *, beside: bool) -> dict[str, float]:
    """Seconds since the first method began."""
    from reid_ray.on_ray import study as module
    from reid_ray.progress import Display

    real = module.nodes_beside
    module.nodes_beside = real if beside else lambda scaling, cluster: []
    try:
        outcome = module.run_study(chosen, display=Display())
    finally:
        module.nodes_beside = real
    spans = {
        one.result.method: (one.result.started_at, one.result.started_at + one.result.seconds)
        for one in outcome.record.methods
        if one.result.kind == "trial" or one.result.family == "local features"
    }
    first = min(began for began, _ in spans.values())
    for name, (began, ended) in spans.items():
        print(f"    {name:<45} {began - first:7.1f} to {ended - first:7.1f} s")
    trials = sorted(span for name, span in spans.items() if name != "SIFT")
    waited_from = [first, *(ended for _, ended in trials)]
    free = sum(max(0.0, began - ended) for (began, _), ended in zip(trials, waited_from, strict=False))
    took = max(ended for _, ended in spans.values()) - first
    matching = spans["SIFT"][1] - spans["SIFT"][0]
    return {"took": took, "free": free, "matching": matching}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=12)
    given = parser.parse_args()
    import ray

    from reid_ray.on_ray.cluster.session import _QUIET_ENVIRONMENT

    os.environ |= {**_QUIET_ENVIRONMENT, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    with tempfile.TemporaryDirectory(prefix="sbs-") as name:
        ray.init(
            num_cpus=CPUS,
            num_gpus=1,
            log_to_driver=False,
            include_dashboard=False,
            logging_level="ERROR",
            _temp_dir=f"{name}/r",
            runtime_env={"worker_process_setup_hook": no_card},
        )
        measure(study(Path(name), "warm", photos=96, epochs=1), beside=True)
        found = {}
        for beside in (False, True):
            print(f"{'side by side' if beside else 'one after the other'}:", flush=True)
            began = time.perf_counter()
            chosen = study(
                Path(name) / str(beside), f"beside{beside}", photos=given.photos, epochs=given.epochs
            )
            found[beside] = measure(chosen, beside=beside)
            print(f"    whole study {time.perf_counter() - began:.0f} s", flush=True)
        ray.shutdown()
    for beside, row in found.items():
        print(
            f"{'side by side' if beside else 'one after the other'}: methods {row['took']:.0f} s, matching "
            f"{row['matching']:.0f} s, card free while a trial waited {row['free']:.0f} s"
        )
    print(f"side by side takes {found[True]['took'] / found[False]['took']:.2f} of the time")


if __name__ == "__main__":
    main()

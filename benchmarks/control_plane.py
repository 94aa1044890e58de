"""What a trial costs beside its own work: thousands that do nothing, through Tune, the ledger and MLflow.

    python benchmarks/control_plane.py [--trials 10000] [--mlflow sqlite|off]

Each trial is a real one but for its training: the same Tune actors, ledger and callback. For every tenth of
the trials it prints the time a trial took and the memory of the driver, so that anything that grows with the
number of trials shows.
"""

import argparse
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from reid_ray.config.training import ArcFace, Trial
from reid_ray.config.tune import Scaling
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.runs import files
from reid_ray.runs.methods import method_key
from reid_ray.runs.study import StudyFolder

GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--mlflow", default="sqlite", help="sqlite, off, or a server's address")
    parser.add_argument("--epochs", type=int, default=3, help="reports and history lines of a trial")
    arguments = parser.parse_args()
    import ray

    from reid_ray.datasets.prepared import Materials
    from reid_ray.on_ray.cluster.session import _QUIET_ENVIRONMENT, cluster
    from reid_ray.on_ray.training import tuning
    from reid_ray.reporting.tracking import Tracking
    from reid_ray.studies.trial import Plan

    folder = Path(tempfile.mkdtemp(prefix="cp-"))
    study = StudyFolder(folder / "runs" / "many")
    files.write_json(study.study_path, {"name": "many", "methods": [], "started_at": 0.0})
    files.write_table(study.rows_path, pd.DataFrame({"key": []}))
    files.write_table(study.quarantine_path, pd.DataFrame({"key": []}))
    plans = [
        Plan(method_key("no-op", number), "trial", _trial(number), ("all",), "random", "", 1)
        for number in range(arguments.trials)
    ]
    tracking = None
    if arguments.mlflow != "off":
        uri = None if arguments.mlflow == "sqlite" else arguments.mlflow
        tracking = Tracking(uri, storage=folder / "runs", study="many")
        tracking.begin(study, [])
    driver = psutil.Process(os.getpid())
    ended: list[float] = []
    step = max(1, arguments.trials // 10)
    print(f"{arguments.trials} trials of {arguments.epochs} reports, MLflow: {arguments.mlflow}")
    print("| trials ended | ms a trial, of the last tenth | driver, GiB |\n|---|---|---|")

    def progress(plan: Plan, _: int, end: bool) -> None:
        if not end:
            return
        ended.append(time.perf_counter())
        if tracking is not None:
            tracking.sync(study.method(plan.key))
        if len(ended) % step == 0:
            last = ended[-1] - (ended[-step - 1] if len(ended) > step else began)
            memory = driver.memory_info().rss / GIB
            print(f"| {len(ended)} | {1e3 * last / step:.0f} | {memory:.2f} |", flush=True)

    epochs = arguments.epochs

    def only_training_is_left_out() -> None:
        tuning.train_here = _NoTraining(epochs)

    os.environ |= _QUIET_ENVIRONMENT
    ray.init(
        address="local",
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"worker_process_setup_hook": only_training_is_left_out},
    )
    with cluster() as resources:
        materials = ray.put(Materials(PreparedImages.pack([]), pd.DataFrame()))
        cpu = driver.cpu_times()
        began = time.perf_counter()
        errors = tuning.run_trials(plans, materials, study, Scaling(), resources, progress=progress)
        took = time.perf_counter() - began
        used = driver.cpu_times()
        assert not errors, list(errors.values())[:1]
        assert len(ended) == len(plans)
        in_tune = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(
            f"all trials: {took:.0f} s, {1e3 * took / len(plans):.1f} ms each, of which the driver's CPU "
            f"{1e3 * (used.user + used.system - cpu.user - cpu.system) / len(plans):.1f} ms; "
            f"{in_tune / len(plans) / 1024:.1f} KiB on disk each"
        )
        waited = time.perf_counter()
        if tracking is not None:
            tracking._jobs.put(None)
            tracking._thread.join()
            print(
                f"MLflow was through {time.perf_counter() - waited:.0f} s later; "
                f"problem: {tracking.problem or 'none'}; driver "
                f"{driver.memory_info().rss / GIB:.2f} GiB"
            )
        again = time.perf_counter()
        left = sum(not study.method(plan.key).done() for plan in plans)
        print(f"a second start finds {len(plans) - left} results in {time.perf_counter() - again:.1f} s")
    shutil.rmtree(folder)


class _NoTraining:
    """Reports and writes like a training, and does nothing else."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def __call__(self, plan, materials, folder, report) -> None:  # type: ignore[no-untyped-def]
        rng = np.random.default_rng(int(plan.key, 16) % 2**32)
        for epoch in range(1, self.epochs + 1):
            row = {"epoch": epoch, "loss": float(rng.random()), "val/top1": float(rng.random())}
            folder.append_history(row)
            report(row)
        metrics = {
            f"{domain}/{name}": float(rng.random())
            for domain in ("seen", "unseen")
            for name in ("top1", "top5", "mAP", "balanced_top1")
        }
        folder.finish(replace(plan.empty_result(), metrics=metrics))


def _trial(number: int) -> Trial:
    loss = ArcFace(name="arcface", margin_rad=0.5, scale=16.0)
    return Trial(backbone="test_resnet", loss=loss, lr=1e-6 * (number + 1), epochs=3)


if __name__ == "__main__":
    main()

"""How work spreads over nodes: measured from one to two, and a model of 8, 64 and 512 GPUs.

    python benchmarks/scaling.py measure     one node of one CPU, then two
        [--data ../shared/data/NyalaDev] [--only matching]
    python benchmarks/scaling.py model       where a study stops scaling, and why

`measure` runs each kind of work (matching, embedding, trials) on Ray nodes of one CPU each and prints the
rate on two nodes as a share of twice the rate on one; photos are those of `--data`, a folder with
`metadata.csv`, or synthetic. `model` adds up what a study's parts take:

    wall = start + photos to every node + waves of trials + driver's own work + matching + report

Inputs of GPUs and networks are assumptions; the others were measured, mostly by `measure` (see
reports/scaling.md). `--set` puts others in their place.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

KINDS = ("matching", "embedding", "trials")


def study(folder: str, photos: int, data: str) -> Any:
    from reid_ray.config.tune import Study

    synthetic = {"source": "synthetic", "identities": 16, "photos": photos // 16, "size_px": 256}
    real = {"source": "table", "name": "real", "root": data}
    # One threshold, so that nothing is chosen; 256 keypoints, so that it takes a minute.
    sift = {"name": "SIFT", "extractor": {"kind": "sift", "max_keypoints": 256}, "thresholds": [0.6]}
    raw = {
        "name": "scaling",
        "data": {
            "datasets": [real if data else {**synthetic, "name": "zebra", "species": "zebra"}],
            "images": {"short_px": 256},
        },
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": [0.05, 0.02, 0.01, 0.005],
            "arcface": {"margins_rad": [0.25, 0.5], "scales": [16.0]},
            "triplet": None,
        },
        "training": {
            "weights": "random",
            "input_px": 96,
            "epochs": 4,
            "batch_size": 32,
            "checkpoint_every_s": 5,
        },
        "baselines": {"random_init": False, "matching": [sift]},
        "storage": folder,
    }
    return Study.parse(raw, where="scaling")


def work(nodes: int, photos: int, data: str, kinds: list[str]) -> dict[str, float]:
    """Seconds of each kind of work on so many nodes of one CPU, start-up of processes left out."""
    import numpy as np
    import ray
    from ray.cluster_utils import Cluster as LocalCluster

    from reid_ray.on_ray.cluster.session import _QUIET_ENVIRONMENT

    os.environ |= _QUIET_ENVIRONMENT
    began = time.perf_counter()
    local = LocalCluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        local.add_node(num_cpus=1)
    ray.init(address=local.address, log_to_driver=False, logging_level="ERROR")
    from reid_ray.datasets.prepared import Materials
    from reid_ray.embedding.encoding import Encoding
    from reid_ray.methods.local_features import LocalFeatures
    from reid_ray.on_ray.cluster.session import cluster
    from reid_ray.on_ray.photos import load_photos
    from reid_ray.on_ray.retrieval.bench import RayBench
    from reid_ray.on_ray.retrieval.encoders import score_encoders
    from reid_ray.on_ray.retrieval.methods import run_method
    from reid_ray.on_ray.training.tuning import run_trials
    from reid_ray.progress import Display
    from reid_ray.runs.study import StudyFolder
    from reid_ray.studies.planning import EncoderPlan, pair_count, plan_study

    ray.get(ray.remote(lambda: 0).remote())
    took = {"start_s": time.perf_counter() - began}
    with tempfile.TemporaryDirectory(prefix="sc-") as name, cluster() as resources:
        chosen, folder = study(name, photos, data), Path(name)
        loaded = load_photos(
            chosen.data, made=folder / "synthetic", prepared=folder / "prepared", display=Display()
        )
        began = time.perf_counter()
        load_photos(chosen.data, made=folder / "synthetic", prepared=folder / "again", display=Display())
        took["decoded_per_s"] = len(loaded.rows) / (time.perf_counter() - began) / nodes
        shared = Materials(loaded.images, loaded.rows)
        materials = ray.put(shared)
        plan = plan_study(chosen, loaded.rows)
        home = StudyFolder(folder / "scaling")
        matcher = plan.matchers[0]
        told: list[tuple[float, int]] = []
        bench = RayBench(
            shared,
            materials,
            features_store=folder / "features",
            vectors_store=folder / "vectors",
            matching=nodes,
            embedding=nodes,
            gpus=0.0,
            embedded=lambda done: told.append((time.perf_counter(), done)),
        )
        with bench:
            cpu: list[tuple[float, float]] = []

            def matched(done: int, text: str) -> None:
                if not text:
                    told.append((time.perf_counter(), done))
                    cpu.append(cpu_seconds())

            run_method(
                LocalFeatures(matcher.config),
                matcher.key,
                "local features",
                bench,
                home.method(matcher.key),
                k=10,
                told=matched,
            )
            took["matching"] = steady(told, nodes, pair_count(loaded.rows))
            worked, others = np.subtract(cpu[-1], cpu[nodes - 1]) / (told[-1][0] - told[nodes - 1][0])
            took |= {"cpus_that_match": worked, "cpus_of_all_else": others}
            took["pairs_per_second"] = pair_count(loaded.rows) / took["matching"] / nodes
            if "embedding" in kinds:
                told.clear()
                encoding = Encoding("resnet18", "random", 160)
                encoder = EncoderPlan("scalingencoder00", "resnet18 untrained", "untrained", encoding, 10)
                score_encoders([encoder], bench, home)
                took["embedding"] = steady(told, nodes, len(loaded.rows))
        took["photo_bytes"] = loaded.images.nbytes / len(loaded.images)
        if "trials" not in kinds:
            ray.shutdown()
            local.shutdown()
            return took
        began = time.perf_counter()
        errors = run_trials(plan.trials, materials, home, chosen.scaling, resources, progress=lambda *_: None)
        assert not errors
        took["trials"] = time.perf_counter() - began
        took["trial_s"] = float(np.mean([home.method(p.key).result().seconds for p in plan.trials]))
        took["trial_start_s"] = took["trials"] * nodes / len(plan.trials) - took["trial_s"]
    ray.shutdown()
    local.shutdown()
    return took


def cpu_seconds() -> tuple[float, float]:
    """Spent so far by the workers of Ray that have work, and by all other processes of this machine."""
    import psutil

    times = psutil.cpu_times()
    workers = 0.0
    for one in psutil.process_iter(["name", "cmdline", "cpu_times"]):
        if (one.info["cmdline"] or [""])[0].startswith("ray::Worker"):
            workers += one.info["cpu_times"].user + one.info["cpu_times"].system
    return workers, times.user + times.nice + times.system - workers


def steady(told: list[tuple[float, int]], nodes: int, total: int) -> float:
    """Seconds that all of it takes, from the end of the first calls to the last's: what a process needs to
    start, and to take photos and models in, is there by then.
    """
    (first, before), (last, after) = told[nodes - 1], told[-1]
    return (last - first) / (after - before) * total


def measure(arguments: argparse.Namespace) -> None:
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(arguments.repeats):
        for nodes in runs:
            command = [
                sys.executable,
                __file__,
                "work",
                str(nodes),
                str(arguments.photos),
                arguments.data,
                *arguments.only,
            ]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs[nodes].append(json.loads(done.stdout.splitlines()[-1]))
    best = {
        nodes: {name: min(run[name] for run in found) for name in found[0]} for nodes, found in runs.items()
    }
    print("| work | s on one node | s on two | share of twice the rate |\n|---|---|---|---|")
    for kind in arguments.only:
        one, two = best[1][kind], best[2][kind]
        print(f"| {kind} | {one:.1f} | {two:.1f} | {one / two / 2:.2f} |")
    rates = {
        name: round(best[1][name], 1)
        for name in (
            "start_s",
            "decoded_per_s",
            "pairs_per_second",
            "cpus_that_match",
            "cpus_of_all_else",
            "trial_s",
            "trial_start_s",
            "photo_bytes",
        )
        if name in best[1]
    }
    print(f"on one node: {rates}")
    print(f"on two: { ({name: round(best[2][name], 2) for name in rates if name.startswith('cpus')}) }")


@dataclass(frozen=True)
class Inputs:
    """What the model adds up."""

    # The study: the paper's grid, half of it Swin-B, on a collection of this size.
    trials: int = 72
    epochs: int = 100
    photos: int = 10_000
    queries: int = 2_000
    batch: int = 128
    # Measured on two cores, see reports/scaling.md.
    start_s: float = 11.5
    trial_start_s: float = 3.0
    ddp_start_s: float = 45.0
    driver_s_per_trial: float = 0.045
    report_s: float = 30.0
    decoded_per_cpu_s: float = 120.0
    pairs_per_cpu_s: float = 2_600.0
    photo_bytes: float = 256 * 340 * 3
    # Assumptions: a GPU's published throughput, networks and machines as they are rented.
    images_per_s: float = 350.0
    gradient_gb: float = 0.2
    network_gb_per_s: float = 3.0
    within_node_gb_per_s: float = 50.0
    store_gb_per_s: float = 5.0
    gpus_per_node: int = 8
    cpus_per_gpu: int = 8


@dataclass(frozen=True)
class Wall:
    """Seconds of a study's parts."""

    start: float
    photos: float
    trials: float
    driver: float
    matching: float
    report: float

    @property
    def total(self) -> float:
        return float(sum(asdict(self).values()))


def trial_s(workers: int, inputs: Inputs) -> float:
    """One trial on so many GPUs; gradients go around the ring once a step, hidden behind nothing."""
    photos = inputs.epochs * inputs.photos
    start = inputs.trial_start_s if workers == 1 else inputs.ddp_start_s
    within = workers <= inputs.gpus_per_node
    speed = inputs.within_node_gb_per_s if within else inputs.network_gb_per_s
    around = 2 * (workers - 1) / workers * inputs.gradient_gb / speed
    return start + photos / inputs.images_per_s / workers + photos / inputs.batch * around


def wall(gpus: int, workers: int, inputs: Inputs) -> Wall:
    """With so many GPUs, of which each trial takes `workers`."""
    nodes, cpus = math.ceil(gpus / inputs.gpus_per_node), gpus * inputs.cpus_per_gpu
    gigabytes = inputs.photos * inputs.photo_bytes / 1e9
    fetched = max(gigabytes / inputs.network_gb_per_s, nodes * gigabytes / inputs.store_gb_per_s)
    pairs = inputs.queries * (inputs.photos - inputs.queries)
    return Wall(
        start=inputs.start_s,
        photos=inputs.photos / inputs.decoded_per_cpu_s / cpus + fetched,
        trials=math.ceil(inputs.trials / (gpus // workers)) * trial_s(workers, inputs),
        driver=inputs.driver_s_per_trial * inputs.trials,
        matching=pairs / inputs.pairs_per_cpu_s / cpus,
        report=inputs.report_s,
    )


def model(arguments: argparse.Namespace) -> None:
    changes = dict(one.split("=") for one in arguments.set)
    inputs = replace(Inputs(), **{name: float(value) for name, value in changes.items()})
    print(", ".join(f"{name} {value:g}" for name, value in asdict(inputs).items()))
    alone = wall(1, 1, inputs).total
    print(
        "\n| GPUs | of a trial | start | photos | trials | driver | matching | report | hours "
        "| share of perfect | what holds it |\n|" + "---|" * 11
    )
    for gpus in (1, 8, 64, 512):
        for workers in (w for w in (1, 2, 4, 8, 16) if w <= gpus):
            parts = wall(gpus, workers, inputs)
            seconds = " | ".join(f"{value:.0f} s" for value in asdict(parts).values())
            print(
                f"| {gpus} | {workers} | {seconds} | {parts.total / 3600:.2f} "
                f"| {alone / parts.total / gpus:.2f} | {held_by(gpus, workers, inputs)} |"
            )


def held_by(gpus: int, workers: int, inputs: Inputs) -> str:
    """What loses most GPU time against perfect scaling."""
    places, parts = gpus // workers, asdict(wall(gpus, workers, inputs))
    one = asdict(wall(1, 1, inputs))
    lost = {name: parts[name] - one[name] / gpus for name in parts if name != "trials"}
    waves = math.ceil(inputs.trials / places)
    together = trial_s(workers, inputs)
    lost["places without a trial"] = (waves - inputs.trials / places) * together
    lost["gradients and start of workers"] = (
        inputs.trials / places * together - inputs.trials * trial_s(1, inputs) / gpus
    )
    worst = max(lost, key=lambda name: lost[name])
    return f"{worst}, {lost[worst]:.0f} s" if lost[worst] > 0.5 else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parts = parser.add_subparsers(required=True)
    measuring = parts.add_parser("measure")
    measuring.add_argument("--photos", type=int, default=320)
    measuring.add_argument("--data", default="", help="a folder with metadata.csv; default: synthetic photos")
    measuring.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    measuring.add_argument("--repeats", type=int, default=1)
    measuring.set_defaults(act=measure)
    working = parts.add_parser("work")
    working.add_argument("nodes", type=int)
    working.add_argument("photos", type=int)
    working.add_argument("data")
    working.add_argument("kinds", nargs="+")
    working.set_defaults(act=lambda a: print(json.dumps(work(a.nodes, a.photos, a.data, a.kinds))))
    modelling = parts.add_parser("model")
    modelling.add_argument("--set", action="append", default=[], metavar="INPUT=NUMBER")
    modelling.set_defaults(act=model)
    arguments = parser.parse_args()
    arguments.act(arguments)


if __name__ == "__main__":
    main()

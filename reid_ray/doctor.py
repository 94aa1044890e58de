"""`python -m reid_ray.doctor`: check libraries, GPU, memory, storage, MLflow, weights and every node."""

import argparse
import sys

from reid_ray import command

MARKS = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


def act(arguments: argparse.Namespace) -> int:
    """Print each check as it is made; 1 where a study could not run."""
    from reid_ray.config.named import results_folder
    from reid_ray.on_ray.cluster.doctor import examine

    faults = 0
    storage = results_folder(arguments.storage)
    for check in examine(storage=storage, tracking_uri=arguments.tracking_uri):
        print(f"{MARKS[check.status]}  {check.what}: {check.text}", flush=True)
        faults += check.status == "fault"
    print(f"\nNot ready, faults: {faults}" if faults else "\nReady.")
    return 1 if faults else 0


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("doctor", __doc__.split(": ", 1)[1])
    parser.add_argument("--storage", default="runs", help="where results go (default: runs)")
    parser.add_argument("--tracking-uri", help="MLflow server (default: SQLite in storage)")
    return parser


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act))

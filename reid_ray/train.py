"""`python -m reid_ray.train`: train one setting on these photos and export the model."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.train import TrainRun


def act(config: TrainRun, arguments: argparse.Namespace) -> int:
    """Train, or say what would be done."""
    return command.run_or_forecast(config.study(), arguments)


def arguments() -> argparse.ArgumentParser:
    return command.config_parser("train", __doc__.split(": ", 1)[1], default="quickstart")


if __name__ == "__main__":
    sys.exit(command.run("train", TrainRun, act, arguments()))

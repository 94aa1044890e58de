"""`python -m reid_ray.evaluate`: score any pretrained embedding models on these animals."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.evaluate import EvaluateRun


def act(config: EvaluateRun, arguments: argparse.Namespace) -> int:
    """Score the models, or say what would be done and which weights are there."""
    return command.run_or_forecast(config.study(), arguments)


def arguments() -> argparse.ArgumentParser:
    return command.config_parser("evaluate", __doc__.split(": ", 1)[1], default="quickstart")


if __name__ == "__main__":
    sys.exit(command.run("evaluate", EvaluateRun, act, arguments()))

"""`python -m reid_ray.match`: find out how far local features get on these animals."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.match import MatchRun


def act(config: MatchRun, arguments: argparse.Namespace) -> int:
    """Match, or say how much there is to match."""
    return command.run_or_forecast(config.study(), arguments)


def arguments() -> argparse.ArgumentParser:
    return command.config_parser("match", __doc__.split(": ", 1)[1], default="quickstart")


if __name__ == "__main__":
    sys.exit(command.run("match", MatchRun, act, arguments()))

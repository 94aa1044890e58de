"""`python -m reid_ray.tune`: find out which method re-identifies these animals best."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.tune import Study


def act(study: Study, arguments: argparse.Namespace) -> int:
    """Run the study, or say what it would do."""
    return command.run_or_forecast(study, arguments)


def arguments() -> argparse.ArgumentParser:
    return command.config_parser("tune", __doc__.split(": ", 1)[1], default="quickstart")


if __name__ == "__main__":
    sys.exit(command.run("tune", Study, act, arguments()))

"""`python -m reid_ray.tune`: find out which method re-identifies these animals best."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.tune import Study


def act(study: Study, arguments: argparse.Namespace) -> int:
    """Run the study, or say what it would do."""
    return command.run_or_forecast(study, arguments)


if __name__ == "__main__":
    sys.exit(command.run("tune", Study, act, default="quickstart", description=__doc__.split(": ", 1)[1]))

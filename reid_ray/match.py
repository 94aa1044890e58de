"""`python -m reid_ray.match`: find out how far local features get on these animals."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.match import MatchRun


def act(config: MatchRun, arguments: argparse.Namespace) -> int:
    """Match, or say how much there is to match."""
    from reid_ray.on_ray.match_run import forecast, run_methods

    if arguments.dry_run:
        print(forecast(config))
        return 0
    from reid_ray.on_ray.progress import Display

    print(run_methods(config, display=Display(), fresh=arguments.fresh))
    return 0


if __name__ == "__main__":
    sys.exit(
        command.run(
            "match", MatchRun, act, default="quickstart", description=__doc__.split(": ", 1)[1]
        )
    )

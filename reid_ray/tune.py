"""`python -m reid_ray.tune`: find out which method re-identifies these animals best."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.tune import Study


def act(study: Study, arguments: argparse.Namespace) -> int:
    """Run the study, or say what it would do."""
    if arguments.dry_run:
        from reid_ray.on_ray.forecast import forecast

        print(forecast(study))
        return 0
    from reid_ray.on_ray.progress import Display
    from reid_ray.on_ray.study import run_study
    from reid_ray.reporting.closing import closing_words

    outcome = run_study(study, display=Display(), fresh=arguments.fresh)
    print(closing_words(outcome.record, outcome.report, outcome.tracking_uri, outcome.compare))
    return 1 if outcome.record.failed() else 0


if __name__ == "__main__":
    sys.exit(
        command.run("tune", Study, act, default="quickstart", description=__doc__.split(": ", 1)[1])
    )

"""`python -m reid_ray.train`: train one setting on these photos and export the model."""

import argparse
import sys

from reid_ray import command
from reid_ray.config.named import results_folder
from reid_ray.config.train import TrainRun


def act(config: TrainRun, arguments: argparse.Namespace) -> int:
    """Train, or say what would be done."""
    study = config.study()
    if arguments.dry_run:
        from reid_ray.on_ray.forecast import forecast

        print(forecast(study))
        return 0
    from reid_ray.on_ray.progress import Display
    from reid_ray.on_ray.study import run_study
    from reid_ray.reporting.closing import closing_words
    from reid_ray.runs.study import StudyFolder

    outcome = run_study(study, display=Display(), fresh=arguments.fresh)
    print(closing_words(outcome.record, outcome.report, outcome.tracking_uri, compare=""))
    model = StudyFolder(results_folder(study.storage) / study.name).winner_path
    if outcome.record.study["winner"]:
        print(f"Model:    {model}")
    return 1 if outcome.record.failed() else 0


if __name__ == "__main__":
    sys.exit(
        command.run(
            "train", TrainRun, act, default="quickstart", description=__doc__.split(": ", 1)[1]
        )
    )

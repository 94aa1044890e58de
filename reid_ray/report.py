"""`python -m reid_ray.report`: make a study's report again, from its folder or from MLflow alone."""

import argparse
import sys
import tempfile
from pathlib import Path

from reid_ray import command


def act(arguments: argparse.Namespace) -> int:
    """Write the report; 1 if parts of the study were missing."""
    # Imported here: the libraries take seconds, and `--help` should not.
    from reid_ray.config.named import results_folder
    from reid_ray.reporting.page import write_report
    from reid_ray.runs.storage import address
    from reid_ray.runs.study import find_study

    with tempfile.TemporaryDirectory() as temporary:
        if arguments.from_mlflow:
            from reid_ray.reporting.from_mlflow import fetch_study

            fetched = fetch_study(arguments.from_mlflow, arguments.study, Path(temporary))
            record, problems = fetched.record, fetched.problems
        else:
            record = find_study(arguments.study, results_folder(arguments.storage)).load()
            problems = ()
        out = results_folder(arguments.out or f"reports/{record.study['name']}")
        page = write_report(record, out)
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    print(f"Report:   {address(page)}")
    return 1 if problems else 0


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("report", __doc__.split(": ", 1)[1])
    parser.add_argument(
        "study", nargs="?", help="its name, or the path of its folder; not needed if there is one"
    )
    parser.add_argument("--study", dest="named", metavar="NAME", help="the same, as an option")
    parser.add_argument(
        "--from-mlflow", metavar="URI", help="tracking server or sqlite:///file to read instead"
    )
    parser.add_argument("--storage", default="runs", help="folder of all studies (default: runs)")
    parser.add_argument("--out", metavar="DIR", help="folder to write (default: reports/<study>)")
    return parser


if __name__ == "__main__":
    given = arguments().parse_args()
    given.study = given.study or given.named
    sys.exit(command.guarded(given, act))

"""What all commands share: arguments, one-sentence errors, exit codes.

0 done, 1 failed, 2 your input, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

import argparse
import os
import sys
import textwrap
import traceback
from collections.abc import Callable
from typing import TypeVar

from reid_ray.config.addresses import refuse_userinfo
from reid_ray.config.base import Config, load
from reid_ray.config.named import described, find
from reid_ray.config.tune import Study
from reid_ray.errors import ReidError, explained
from reid_ray.stopping import SIGTERM_EXIT_CODE, heed_sigterm, sigterm_came

C = TypeVar("C", bound=Config)

_GOES_ON = "what is finished is kept, the same command goes on from here"


def run(
    command: str,
    config_class: type[C],
    action: Callable[[C, argparse.Namespace], int],
    arguments: argparse.ArgumentParser,
) -> int:
    """Parse the command line, read the config, act; returns the exit code."""

    def read_and_act(given: argparse.Namespace) -> int:
        return action(load(config_class, find(command, given.config), given.set), given)

    return guarded(arguments.parse_args(), read_and_act)


def guarded(arguments: argparse.Namespace, action: Callable[[argparse.Namespace], int]) -> int:
    """Act; what goes wrong is told in one sentence, and in full only with `--debug`."""
    heed_sigterm()
    try:
        _refuse_passwords(arguments)
        code = action(arguments)
        sys.stdout.flush()
        return code
    except ReidError as error:
        if arguments.debug:
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"stopped{' by SIGTERM' if sigterm_came() else ''}; {_GOES_ON}", file=sys.stderr)
        return SIGTERM_EXIT_CODE if sigterm_came() else 130
    except BrokenPipeError:
        # Whoever read the output, `head` say, has had enough; Python would complain once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if arguments.debug:
            raise
        if sentence := explained(error):
            print(f"error: {sentence}", file=sys.stderr)
            return 1
        where = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
        print(f"error: {where} (this is a fault of the program; --debug shows where)", file=sys.stderr)
        return 1


def _refuse_passwords(arguments: argparse.Namespace) -> None:
    """Raises:
    ConfigError: there is one in an address."""
    for name, value in vars(arguments).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                refuse_userinfo(text, f"--{name.replace('_', '-')}")


EXAMPLES = {
    "tune": ("", "mine.yaml --dry-run", "mine.yaml --set training.epochs=50", "paper --dry-run"),
    "train": ("", "mine.yaml --set training.epochs=20"),
    "match": ("", "lion --set storage=/data/runs"),
    "evaluate": ("", "pretrained --dry-run"),
    "identify": (
        "--reference known --query new",
        "--reference known --query photo.jpg --model runs/mine",
        "--reference known.csv --query new.csv --local lnbnn --cluster-unknown",
    ),
    "review": ("--reference known --model runs/mine",),
    "validate": ("photos", "photos --write mine.yaml", "photos.csv --identity-column Name"),
    "report": ("mine",),
    "split": ("photos.parquet --to split", "photos.parquet --to split --set kind=open_set"),
    "doctor": ("", "--storage /shared/runs"),
    "weights": ("list", "get NAME", "check"),
}
"""Arguments that people begin with, by command."""


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """What every command has, with examples and the configs that come along for it."""
    examples = [f"  reid-ray {command} {arguments}".rstrip() for arguments in EXAMPLES[command]]
    configs = [
        textwrap.fill(f"{name:<12} {about}", 100, initial_indent="  ", subsequent_indent=" " * 15)
        for name, about in described(command).items()
    ]
    made = argparse.ArgumentParser(
        prog=f"python -m reid_ray.{command}",
        description=description[:1].upper() + description[1:],
        epilog="\n".join(
            ["examples:", *examples, *(["", "configs that come along:"] if configs else []), *configs]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show tracebacks")
    return made


def add_method(made: argparse.ArgumentParser) -> None:
    """What looks at the photos, of `identify` and `review`."""
    made.add_argument(
        "--model", help="an embedding: a study's folder, a timm folder, a timm name or an hf-hub: id"
    )
    made.add_argument(
        "--local",
        action="append",
        choices=["sift", "rootsift", "lnbnn", "disk"],
        help="local features (default where no model is given: lnbnn); several are joined",
    )


def add_reading(made: argparse.ArgumentParser) -> None:
    """How photos are organised, where it is not to be guessed."""
    add = made.add_argument
    add("--identity-column", metavar="NAME", help="the table's column that names the animal")
    add(
        "--level",
        type=_level,
        metavar="N",
        help="which folder on the way to a photo names the animal (default: 1)",
    )
    add("--follow-links", action="store_true", help="also enter folders and read photos that are links")


def _level(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 20:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 20")
    return int(text)


def run_or_forecast(study: Study, arguments: argparse.Namespace) -> int:
    """What `tune`, `train` and `match` do with their study, once it is known."""
    # Imported here: the libraries take seconds, and `--help` or a wrong key should not.
    if arguments.dry_run:
        from reid_ray.studies.dry_run import forecast

        print(forecast(study))
        return 0
    from reid_ray.config.named import results_folder
    from reid_ray.splits.plausibility import plausible

    # What makes no sense is told before a cluster is started, or joined, for it.
    *_, odd = plausible(study.data, made=results_folder(study.storage) / "synthetic")
    for text in odd:
        print(f"note: {text}", file=sys.stderr)
    from reid_ray.on_ray.study import run_study
    from reid_ray.progress import Display
    from reid_ray.reporting.closing import closing_words

    outcome = run_study(study, display=Display(), fresh=arguments.fresh)
    print(
        closing_words(
            outcome.record,
            report=outcome.report,
            tracking_uri=outcome.tracking_uri,
            compare=outcome.compare,
            model=outcome.model,
        )
    )
    return 1 if outcome.record.failed() else 0


def config_parser(command: str, description: str, *, default: str) -> argparse.ArgumentParser:
    """What every command that reads a config has."""
    made = parser(command, description)
    made.add_argument(
        "config",
        nargs="?",
        default=default,
        help=f"a YAML file, or the name of one below tune_configs/ (default: {default})",
    )
    made.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a setting, e.g. training.epochs=20",
    )
    made.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    made.add_argument(
        "--fresh", action="store_true", help="do everything again; earlier results are moved aside"
    )
    return made

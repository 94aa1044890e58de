"""`python -m reid_ray.validate`: say what a folder of photos holds, what is wrong and what to do."""

import argparse
import sys

from reid_ray import command


def act(arguments: argparse.Namespace) -> int:
    """Look at the photos, print what was found; 2 where something should be mended first."""
    from reid_ray.datasets.understand import Said  # pandas takes a while to load
    from reid_ray.reporting.advice import advise

    said = Said.of(arguments)
    return advise(arguments.photos, most_photos=arguments.open, write=arguments.write, said=said)


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("validate", __doc__.split(": ", 1)[1])
    parser.add_argument("photos", help="a folder of photos, the file that lists them, or a config")
    parser.add_argument(
        "--open",
        type=_count_or_all,
        default=2000,
        metavar="N",
        help="photos to open, evenly spread, or `all` (default: 2000)",
    )
    command.add_reading(parser)
    parser.add_argument("--write", metavar="FILE", help="write a config for these photos, to start from")
    return parser


def _count_or_all(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number above 0 nor `all`")
    return int(text)


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act))

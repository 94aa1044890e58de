"""`python -m reid_ray.weights`: list published weights, fetch them, check what is there."""

import argparse
import os
import sys
from pathlib import Path

from reid_ray import command
from reid_ray.config.matching import WEIGHTS


def act(arguments: argparse.Namespace) -> int:
    """List, get or check; 1 where a file that is there is not what it should be."""
    from reid_ray.embedding.weights_list import check, get, listing  # torch takes a while to load

    folder = Path(arguments.to or os.environ.get(WEIGHTS, "weights")).expanduser()
    if arguments.action == "get":
        for name in arguments.names:
            print(get(name, folder, mirror=arguments.mirror))
        return 0
    if arguments.action == "check":
        lines, good = check(folder)
        print("\n".join(lines))
        return 0 if good else 1
    print("\n".join(listing(folder)))
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("weights", __doc__.split(": ", 1)[1])
    actions = parser.add_subparsers(dest="action", required=True)
    listed = actions.add_parser(
        "list", help="every known model: licence, size, where it can be had, whether it is here"
    )
    checked = actions.add_parser("check", help="read what is here: whole, and what it says it is")
    got = actions.add_parser("get", help="fetch files and check their sha256")
    got.add_argument("names", nargs="+", metavar="NAME", help="as `list` has them")
    got.add_argument(
        "--from", dest="mirror", default="", metavar="DIR", help="a folder or address to fetch from, instead"
    )
    for one in (listed, checked, got):
        one.add_argument("--to", metavar="DIR", help=f"folder of weights (default: ${WEIGHTS}, else weights)")
    return parser


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act))

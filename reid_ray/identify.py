"""`python -m reid_ray.identify`: say who is in photos, among animals that are known."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from reid_ray import command


def act(arguments: argparse.Namespace) -> int:
    """Name the animals, write tables and pages, say where they are."""
    # Imported here: the libraries take seconds, and `--help` should not.
    from reid_ray.on_ray.naming import name_animals, run_of

    print(name_animals(run_of(arguments)))
    return 0


def act_or_serve(arguments: argparse.Namespace) -> int:
    """Once, or as often as lines come."""
    return serve(sys.stdin.buffer) if arguments.serve else act(arguments)


def serve(asked: BinaryIO) -> int:
    """Identify as often as a line comes, with libraries and Ray there between; `review` asks so.

    Args:
        asked: lines of JSON: `arguments` of this command, and `log`, the file that takes what it says. The
            answer to each is a line on standard output with its exit `code`.
    """
    from reid_ray.on_ray.cluster.session import cluster

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with cluster():
        for line in asked:
            wanted = json.loads(line)
            with _written_to(wanted["log"]):
                try:
                    code = command.guarded(arguments().parse_args(wanted["arguments"]), act)
                except SystemExit as ended:  # of words that argparse does not take
                    code = ended.code if isinstance(ended.code, int) else 1
            print(json.dumps({"code": code}), file=answers, flush=True)
    return 0


@contextmanager
def _written_to(log: str) -> Iterator[None]:
    """What this process says goes to a file while the block runs."""
    kept = os.dup(1), os.dup(2)
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, fd in enumerate(kept, 1):
                os.dup2(fd, number)
                os.close(fd)


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("identify", __doc__.split(": ", 1)[1])
    add = parser.add_argument
    add("config", nargs="?", help="a YAML file, or the name of one below tune_configs/identify/")
    add(
        "--reference",
        action="append",
        metavar="DIR",
        help="photos of known animals: a folder per animal, or a table; may be given again",
    )
    add("--query", metavar="DIR", help="photos to be named: a folder, a table, or a single photo")
    command.add_reading(parser)
    command.add_method(parser)
    add("--cluster-unknown", action="store_true", help="group the photos of unknown animals by animal")
    add(
        "--unknown-share",
        type=float,
        metavar="SHARE",
        help="share of new photos whose animal is not among the known ones, as you expect it (default: 0.2)",
    )
    add("--out", metavar="DIR", help="where answers go (default: identified)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    add("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act_or_serve))

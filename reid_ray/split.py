"""`python -m reid_ray.split`: split a table of photos that is too large for one process."""

import argparse
import sys

from reid_ray import command


def act(arguments: argparse.Namespace) -> int:
    """Write the table with its split, say how many rows each part has."""
    # Imported here: the libraries take seconds, and `--help` should not.
    from reid_ray.config.base import build
    from reid_ray.config.datasets import Split
    from reid_ray.on_ray.cluster.session import cluster
    from reid_ray.on_ray.splitting import split_file

    split = build(Split, {}, arguments.set, where="command line")
    with cluster():
        parts = split_file(arguments.table, arguments.to, split, name=arguments.name)
    print(f"{arguments.to}: " + ", ".join(f"{count} {part}" for part, count in sorted(parts.items())))
    return 0


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("split", __doc__.split(": ", 1)[1])
    parser.add_argument("table", help="a Parquet file with a row per photo, or a folder of such")
    parser.add_argument("--to", metavar="DIR", required=True, help="where Parquet files with the split go")
    parser.add_argument("--name", default="photos", help="of the collection, if no column `dataset` says it")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="of the split, e.g. kind=open_set"
    )
    return parser


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act))

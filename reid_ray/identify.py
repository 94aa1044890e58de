"""`python -m reid_ray.identify`: say who is in photos, among animals that are known."""

import argparse
import sys

from reid_ray import command


def act(arguments: argparse.Namespace) -> int:
    """Name the animals, write tables and pages, say where they are."""
    # Imported here: the libraries take seconds, and `--help` should not.
    from reid_ray.on_ray.naming import name_animals, run_of

    print(name_animals(run_of(arguments)))
    return 0


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
    add("--model", help="an embedding: a study's folder, a timm folder, a timm name or an hf-hub: id")
    add(
        "--local",
        choices=["sift", "rootsift", "lnbnn"],
        help="local features (default where no model is given: lnbnn)",
    )
    add("--cluster-unknown", action="store_true", help="group the photos of unknown animals by animal")
    add("--out", metavar="DIR", help="where answers go (default: identified)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting")
    return parser


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act))

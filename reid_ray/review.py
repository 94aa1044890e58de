"""`python -m reid_ray.review`: a page on this machine to drop photos on and decide who is in them."""

import argparse
import getpass
import socket
import sys
from pathlib import Path

from reid_ray import command
from reid_ray.errors import ResourceError

_PORTS = 20
"""So many are tried where the one that is wanted is busy."""


def act(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    import uvicorn

    from reid_ray.config.named import results_folder
    from reid_ray.datasets.understand import Said, understand
    from reid_ray.review_app.door import Door
    from reid_ray.review_app.queue import Batches
    from reid_ray.review_app.server import MOST_BYTES, app

    folder = results_folder(arguments.out)
    said = Said.of(arguments)
    given = _forwarded(arguments)
    for reference in arguments.reference:
        # What is wrong with it is told now, not after photos came.
        understand(reference, said=said)
        there = reference if "://" in reference else str(Path(reference).expanduser().absolute())
        given += ["--reference", there]
    given += ["--model", arguments.model] if arguments.model else []
    for local in arguments.local or ():
        given += ["--local", local]
    for setting in arguments.set:
        given += ["--set", setting]
    batches, door = Batches(folder, given, arguments.reviewer), Door(MOST_BYTES)
    with batches.held():
        listening = _listening(arguments.port)
        port = listening.getsockname()[1]
        if port != arguments.port:
            print(f"note: port {arguments.port} is busy, so it is {port}", file=sys.stderr)
        print(
            f"Open http://127.0.0.1:{port}/?token={door.token}\n"
            f"(Ctrl-C ends it; photos and decisions are in {folder}; who has the address can decide)",
            flush=True,
        )
        uvicorn.Server(uvicorn.Config(app(batches, door), log_level="warning")).run([listening])
    return 0


def _listening(wanted: int) -> socket.socket:
    """The port that is wanted, or the next that nobody listens on. Who opens it before pages can be served
    waits, and is not refused.

    Raises:
        ResourceError: none of the next ones is free.
    """
    for port in range(wanted, min(wanted + _PORTS, 65_536)):
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            continue
    raise ResourceError(f"no free port from {wanted} on; give another with --port")


def _user() -> str:
    """Who is logged in; "" where this machine does not say, as in containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


def _forwarded(arguments: argparse.Namespace) -> list[str]:
    """How photos are organised, for `identify`."""
    given = []
    if arguments.identity_column:
        given += ["--identity-column", arguments.identity_column]
    if arguments.level:
        given += ["--level", str(arguments.level)]
    return given + (["--follow-links"] if arguments.follow_links else [])


def arguments() -> argparse.ArgumentParser:
    parser = command.parser("review", __doc__.split(": ", 1)[1])
    add = parser.add_argument
    add(
        "--reference",
        action="append",
        metavar="DIR",
        required=True,
        help="photos of known animals; may be given again, say with confirmed.csv of earlier reviews",
    )
    command.add_reading(parser)
    command.add_method(parser)
    add("--out", default="review", metavar="DIR", help="where photos and decisions go (default: review)")
    add("--port", type=int, default=8501)
    add("--reviewer", default=_user(), metavar="NAME", help="who decides, as confirmed.csv says it")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any other setting of identify")
    return parser


if __name__ == "__main__":
    sys.exit(command.guarded(arguments().parse_args(), act))

"""`reid-ray COMMAND` and `python -m reid_ray COMMAND`: one command, or the list of all."""

import difflib
import runpy
import sys

COMMANDS = {
    "validate": "what a folder or table of photos holds, and a config for it",
    "identify": "say who is in photos, among animals that are known",
    "review": "decide who it is on a page, one pair at a time",
    "tune": "a study: try settings, train, compare all methods, write a report",
    "train": "a study with settings that are given",
    "match": "a study of local features alone",
    "evaluate": "how good a method is on a collection",
    "report": "write a study's report again",
    "split": "split a table of photos that is too large for one process",
    "weights": "published models: which are known and where they are found",
    "doctor": "what this machine can do",
}
"""In the order in which people meet them."""


def main() -> int:
    """Hand the words over to a command; returns the exit code."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_listed())
        return 0
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        print(f"error: no command {name!r}; {meant}", file=sys.stderr)
        return 2
    sys.argv = [f"reid-ray {name}", *rest]
    runpy.run_module(f"reid_ray.{name}", run_name="__main__", alter_sys=True)
    return 0  # commands end the process with their own code


def _listed() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {about}" for name, about in COMMANDS.items()]
    example = "reid-ray identify --reference known/ --query new/"
    return "\n".join(
        [
            "usage: reid-ray COMMAND ...",
            "",
            *lines,
            "",
            f"For example:  {example}",
            "COMMAND --help says more.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

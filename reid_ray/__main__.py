"""`reid-ray COMMAND` and `python -m reid_ray COMMAND`: one command, or the list of all."""

import argparse
import difflib
import runpy
import sys
from importlib import import_module

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
SHELLS = ("bash", "zsh")


def main() -> int:
    """Hand the words over to a command; returns the exit code."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "help"):
        print(_listed())
        return 0
    if name == "completion":
        return _complete(*rest[:1])
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        meant = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}"
        print(f"error: no command {name!r}; {meant}", file=sys.stderr)
        return 2
    sys.argv = [f"reid-ray {name}", *rest]
    runpy.run_module(f"reid_ray.{name}", run_name="__main__", alter_sys=True)
    return 0  # commands end the process with their own code


def parsers() -> dict[str, argparse.ArgumentParser]:
    """What each command understands."""
    return {name: import_module(f"reid_ray.{name}").arguments() for name in COMMANDS}


def _complete(shell: str = "") -> int:
    """Print what a shell completes commands, options and names of configs by."""
    if shell not in SHELLS:
        print(f"error: no completion for {shell!r}; shells are {', '.join(SHELLS)}", file=sys.stderr)
        return 2
    import shtab

    from reid_ray.config.named import described

    whole = argparse.ArgumentParser(prog="reid-ray")
    commands = whole.add_subparsers()
    for name, one in parsers().items():
        for action in one._actions:
            if action.dest == "config":
                action.choices = sorted(described(name))
            elif action.metavar in ("FILE", "DIR"):
                action.complete = shtab.FILE if action.metavar == "FILE" else shtab.DIRECTORY  # type: ignore[attr-defined]
        commands.add_parser(name, parents=[one], add_help=False, help=COMMANDS[name])
    print(shtab.complete(whole, shell))
    return 0


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
            "COMMAND --help says more. Completion: source <(reid-ray completion bash), or zsh.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())

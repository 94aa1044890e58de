"""What `validate` says of collections as people have them, before and after a change, as a table.

    python benchmarks/intake.py [--before REVISION] [--cases tests/fixtures/intake] > reports/intake.md

Each folder of `--cases` holds `photos/` and a README whose first line is the command, its second the right
outcome. With `--before`, the same is asked of that revision of this repository, checked out beside.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_TELLING = re.compile(r"^\s+- ")
_ALWAYS = ("opened all photos", "shorter side", "photos per animal", "dates from")
_REPOSITORY = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=Path, default=_REPOSITORY / "tests/fixtures/intake")
    parser.add_argument("--before", metavar="REVISION")
    arguments = parser.parse_args()
    cases = sorted(path for path in arguments.cases.iterdir() if (path / "photos").is_dir())
    before = _revision(arguments.before, cases) if arguments.before else {}
    print("# What `validate` says of collections as people have them\n")
    print(f"Made by `python benchmarks/intake.py --before {arguments.before}`; rc is the exit code: 2 where")
    print("something should be mended first. The cases are in `tests/fixtures/intake`.\n")
    print("| case | before | after |\n|---|---|---|")
    for case in cases:
        print(f"| {case.name} | {before.get(case.name, '')} | {outcome(case, _REPOSITORY)} |")


def outcome(case: Path, source: Path) -> str:
    """Exit code and the sentences that tell the cases apart."""
    environment = os.environ | {"PYTHONPATH": str(source), "COLUMNS": "200"}
    with tempfile.TemporaryDirectory() as work:
        shutil.copytree(case, Path(work) / "case")
        ran = subprocess.run(
            [sys.executable, "-m", "reid_ray.validate", "photos"],
            cwd=Path(work) / "case", env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    told: list[str] = []
    for line in (ran.stdout.partition("A config to start from")[0] + ran.stderr).splitlines():
        if _TELLING.match(line) or line.startswith("error:"):
            told.append(line.strip().removeprefix("- "))
        elif line.startswith("    ") and told:
            told[-1] += " " + line.strip()
        elif line.strip() in ("To mend", "Good to know"):
            told.append(f"**{line.strip()}**")
    kept = [text for text in told if not any(part in text for part in _ALWAYS)]
    text = "; ".join(_plain(part) for part in kept).replace("**; ", ":** ")
    return f"rc {ran.returncode}: {text}"


def _revision(revision: str, cases: list[Path]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as home:
        checkout = Path(home) / "before"
        git = ["git", "-C", str(_REPOSITORY), "worktree"]
        subprocess.run([*git, "add", "--detach", "-q", str(checkout), revision], check=True)
        try:
            return {case.name: outcome(case, checkout) for case in cases}
        finally:
            subprocess.run([*git, "remove", "--force", str(checkout)], check=True)


def _plain(text: str) -> str:
    text = text.replace("case: ", "").replace("|", "\\|").replace("<", "&lt;")
    return re.sub(r"/tmp/\S*?/case/", "", text)


if __name__ == "__main__":
    main()

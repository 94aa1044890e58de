"""Processor seconds and memory of `validate` for a large collection, before and after a change, as a table.

    python benchmarks/intake_size.py [--before REVISION] [--photos 100000]

The collection is asked for three times: as folders, with a table whose paths are right, and with one whose
paths are written with backslashes, so that each must be searched for.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

_REPOSITORY = Path(__file__).parents[1]
_PER_ANIMAL = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--before", metavar="REVISION")
    parser.add_argument("--photos", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        sources = {"after": _REPOSITORY}
        git = ["git", "-C", str(_REPOSITORY), "worktree"]
        if arguments.before:
            sources = {"before": Path(home) / "before", **sources}
            subprocess.run(
                [*git, "add", "--detach", "-q", str(sources["before"]), arguments.before], check=True
            )
        try:
            _table(Path(home) / "photos", arguments.photos, sources)
        finally:
            if arguments.before:
                subprocess.run([*git, "remove", "--force", str(sources["before"])], check=True)


def _table(root: Path, photos: int, sources: dict[str, Path]) -> None:
    paths = _make(root, photos)
    table = pd.DataFrame({"path": paths, "identity": [path.partition("/")[0] for path in paths]})
    print(f"`validate` of {photos} photos (2000 opened): seconds of a processor, and GiB at most.\n")
    print(f"| collection | {' | '.join(sources)} |\n|---|{'---|' * len(sources)}")
    for title, change in (
        ("a folder per animal", None),
        ("a table", lambda path: path),
        ("a table with backslashes", lambda path: path.replace("/", "\\")),
    ):
        if change is not None:
            table.assign(path=table["path"].map(change)).to_csv(root / "metadata.csv", index=False)
        cells = [_ask(root, source) for source in sources.values()]
        print(f"| {title} | {' | '.join(cells)} |", flush=True)


def _ask(root: Path, source: Path) -> str:
    """In a process of its own, whose peak memory the system tells."""
    code = (
        "import resource, subprocess, sys\n"
        "command = [sys.executable, '-m', 'reid_ray.validate', sys.argv[1]]\n"
        "ran = subprocess.run(command, stdout=subprocess.DEVNULL)\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "seconds, peak = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20\n"
        "print(f'{seconds:.1f} s, {peak:.2f} GiB, rc {ran.returncode}')"
    )
    environment = os.environ | {"PYTHONPATH": str(source)}
    ran = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        env=environment,
        cwd=root.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout.strip() or "failed"


def _make(root: Path, photos: int) -> list[str]:
    """Small photos of noise, each another file."""
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(data, "JPEG", quality=20)
    paths = []
    for place in range(photos):
        path = f"animal-{place // _PER_ANIMAL:04d}/{place:06d}.jpg"
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.getvalue() + place.to_bytes(4, "big"))
        paths.append(path)
    return paths


if __name__ == "__main__":
    main()

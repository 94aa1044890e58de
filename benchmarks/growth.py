"""Measure how time and the driver's memory grow with the photos: the commands as people call them.

    python benchmarks/growth.py --photos 10000 30000 100000 [--source ANOTHER/CHECKOUT] [--keep DIR]

Photos of 64 px, ten of each animal, all different. For each number: `validate`; `evaluate` with an
untrained small network twice, so that the second start finds all photos prepared; `identify` of one photo
twice, so that the second finds what is known of the references. Seconds of a study's phases are those that
it tells itself. k-NN alone: as many random unit vectors of 512 numbers, as `evaluate` ranks them. Prints a
Markdown table; GiB are the peak of the command's own process, or of one that it waited for.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

SIZE_PX, OF_ANIMAL = 64, 10
NETWORK = {"name": "untrained", "model": "test_resnet", "weights": "random", "input_px": SIZE_PX}
TOLD = re.compile(r"^ *(?:(\d+):)?(\d+):(\d\d) ([a-z][^:]*): [\d/]+ .* in (?:(\d+):)?(\d+):(\d\d)$", re.M)
NETWORKS = ("networks without fine-tuning", "models as they come")
"""How the phase that embeds is called, now and before."""
SEARCH = """
import time
import numpy as np
from reid_ray.evaluation.knn import cosine_knn
rng, photos = np.random.default_rng(0), {photos}
vectors = rng.standard_normal((photos, 512), np.float32)
animal, query = np.arange(photos) // {of_animal}, np.arange(photos) % 5 == 0
cosine_knn(vectors[:2], vectors[2:9], animal[:2], animal[2:9], k=1, block=(1, 5))  # compiles
began = time.monotonic()
cosine_knn(vectors[query], vectors[~query], animal[query], animal[~query], k=10)
print(" 0:00 search: 1 of 1 in {{}}:{{:02d}}".format(*divmod(round(time.monotonic() - began), 60)))
"""
COLUMNS = (
    "photos",
    "validate",
    "prepare",
    "again",
    "near duplicates",
    "again",
    "embed, k-NN",
    "all else",
    "`evaluate`",
    "k-NN alone",
    "report alone",
    "`identify`, first photo",
    "second",
)


@dataclass(frozen=True)
class Ran:
    """A command that ended: seconds, its own peak memory, and the seconds of each phase that it told."""

    seconds: float
    gib: float
    phases: dict[str, int]

    def cell(self) -> str:
        return f"{self.seconds:.0f} s, {self.gib:.2f} GiB"


def make(root: Path, photos: int) -> None:
    """Coarse noise, so that no photo nearly is another."""
    rng = np.random.default_rng(0)
    for number in range(photos):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        data = io.BytesIO()
        coarse.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC).save(data, "JPEG")
        file = root / f"animal-{number // OF_ANIMAL:06d}" / f"{number:07d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.getvalue())


def ran(words: list[str], folder: Path, source: Path) -> Ran:
    """Run one command to its end.

    Raises:
        SystemExit: it failed; what it said is printed.
    """
    log, began = folder / "log.txt", time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(source)},
            stdout=said,
            stderr=said,
        )
        # Tells the peak of this one process; `resource` would tell that of all that ran so far.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(errors="replace")
    if process.returncode:
        sys.exit(text[-4000:])
    phases = {
        name: 3600 * int(hours or 0) + 60 * int(minutes) + int(seconds)
        for *_, name, hours, minutes, seconds in TOLD.findall(text)
    }
    return Ran(time.monotonic() - began, used.ru_maxrss / 2**20, phases)


def naming(config: Path, folder: Path, source: Path) -> str:
    """Earlier versions refuse where too few of these photos are found again among the others."""
    try:
        return ran(["-m", "reid_ray.identify", str(config)], folder, source).cell()
    except SystemExit as error:
        print(error, file=sys.stderr)
        return "refused"


def row(photos: int, folder: Path, source: Path) -> list[str]:
    known, new = folder / "known", folder / "new"
    make(known, photos)
    make(new, 1)
    # Mirrored, as a photo that is a reference would be left out.
    one = next(new.rglob("*.jpg"))
    Image.open(one).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(one)
    told = {"source": "folder", "name": "many", "root": str(known)}
    study = {"name": "growth", "data": {"datasets": [told], "images": {"short_px": SIZE_PX}}}
    config = folder / "growth.yaml"
    config.write_text(yaml.safe_dump(study | {"models": [NETWORK]}))
    validated = ran(["-m", "reid_ray.validate", str(known)], folder, source)
    first = ran(["-m", "reid_ray.evaluate", str(config)], folder, source)
    again = ran(["-m", "reid_ray.evaluate", str(config)], folder, source)
    search = ran(["-c", SEARCH.format(photos=photos, of_animal=OF_ANIMAL)], folder, source)
    reported = ran(["-m", "reid_ray.report", "growth"], folder, source)
    answering = folder / "identify.yaml"
    asked = {
        "reference": told,
        "query": {"source": "folder", "name": "new", "root": str(new)},
        "model": NETWORK,
        "images": {"short_px": SIZE_PX},
    }
    answering.write_text(yaml.safe_dump(asked))
    named = [naming(answering, folder, source) for _ in range(2)]
    near = "near duplicates"
    embedded = sum(first.phases.get(name, 0) for name in NETWORKS)
    rest = first.seconds - sum(first.phases.values())
    return [
        str(photos),
        validated.cell(),
        *(f"{one.phases.get(name, 0)} s" for name in ("photos", near) for one in (first, again)),
        f"{embedded} s",
        f"{rest:.0f} s",
        first.cell(),
        f"{search.phases['search']} s",
        reported.cell(),
        *named,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 30_000, 100_000])
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[1], help="whose code runs")
    parser.add_argument("--keep", type=Path, help="an empty folder for photos and results")
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    with tempfile.TemporaryDirectory(dir=given.keep) as home:
        for photos in given.photos:
            folder = Path(home) / str(photos)
            folder.mkdir()
            print(f"| {' | '.join(row(photos, folder, given.source.absolute()))} |", flush=True)


if __name__ == "__main__":
    main()

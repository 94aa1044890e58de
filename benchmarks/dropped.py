"""Measure how soon a photo that is dropped on the review page is answered, one after another.

    python benchmarks/dropped.py --reference known/ --drop a.jpg b.jpg c.jpg [--model resnet18]

Prints, for each photo, seconds from sending it until its answer can be seen, and seconds of CPU that the
server and all its processes took meanwhile, which say more where the machine has other work.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import requests


def cpu_s(process: psutil.Process) -> float:
    """Of a process and all that descend from it, those that ended included."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += sum(one.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, required=True)
    parser.add_argument("--drop", type=Path, nargs="+", required=True, help="photos, sent one by one")
    parser.add_argument("--folder", type=Path, help="where all of it goes (default: a temporary folder)")
    given, more = parser.parse_known_args()
    folder = (given.folder or Path(tempfile.mkdtemp())).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    words = ["-m", "reid_ray.review", "--reference", str(given.reference.absolute()), "--out", str(folder)]
    with subprocess.Popen(
        [sys.executable, *words, *more], stdout=subprocess.PIPE, text=True, cwd=folder
    ) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"http\S+", server.stdout.readline())
            assert found is not None
            address, _, token = found[0].partition("/?")
            session = requests.Session()
            session.get(f"{address}/?{token}", timeout=60)
            for photo in given.drop:
                began, took = time.perf_counter(), cpu_s(psutil.Process(server.pid))
                sent = session.post(f"{address}/photos", files={"photos": photo.open("rb")}, timeout=600)
                batch = folder / sent.url.split("/batches/")[1].split("/")[0]
                while not (batch / "answers" / "cards.json").exists():
                    if (batch / "failed.txt").exists():
                        sys.exit((batch / "log.txt").read_text())
                    time.sleep(0.1)
                took = cpu_s(psutil.Process(server.pid)) - took
                print(f"{photo.name}: {time.perf_counter() - began:.1f} s, {took:.1f} s of CPU", flush=True)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()

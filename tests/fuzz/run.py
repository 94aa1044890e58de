"""Fuzz what reads files from outside, led by coverage: `python tests/fuzz/run.py photo --seconds 300`.

Prints the number of executions, and where something broke the input and the traceback; that input
becomes a test.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["reid_ray.config", "reid_ray.datasets", "PIL"]):
    from targets import SEEDS, TARGETS

RSS_MIB = 4000
INPUT_S = 20
MOST_BYTES = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    # `ours`: but for what is mostly pyarrow's own reading.
    parser.add_argument("target", choices=[*TARGETS, "ours", "all"])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="a folder to keep what was found interesting")
    arguments = parser.parse_args()
    groups = {"all": list(TARGETS), "ours": [name for name in TARGETS if name != "parquet"]}
    names = groups.get(arguments.target, [arguments.target])
    corpus = arguments.corpus or Path(tempfile.mkdtemp(prefix="corpus"))
    corpus.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        for number, seed in enumerate(SEEDS[name]()):
            (corpus / f"seed-{name}-{number}").write_bytes(_first(names, place) + seed)

    def one(data: bytes) -> None:
        if len(names) == 1:
            TARGETS[names[0]](data)
        elif data:  # the first byte chooses the target
            TARGETS[names[data[0] % len(names)]](data[1:])

    options = [
        f"-max_total_time={arguments.seconds}",
        f"-rss_limit_mb={RSS_MIB}",
        f"-timeout={INPUT_S}",
        f"-max_len={MOST_BYTES}",
        f"-seed={arguments.seed}",
        "-print_final_stats=1",
        f"-artifact_prefix={tempfile.mkdtemp(prefix='found')}/",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one)
    atheris.Fuzz()


def _first(names: list[str], place: int) -> bytes:
    return b"" if len(names) == 1 else bytes([place])


if __name__ == "__main__":
    main()

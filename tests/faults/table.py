"""Write `reports/faults.md` from the tests of faults, run several times with other seeds.

`python tests/faults/table.py --times 3 --starts 30 --soaks 3 --fuzz-s 600` takes hours; `--records FILE` adds
what other runs recorded there (`FAULT_RECORDS=FILE pytest tests/faults`), and with zeros it only writes the
table anew.
Nothing is typed by hand.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parent
RECORDING = (
    HERE,
    TESTS / "ray" / "test_spoilt_storage.py",
    TESTS / "ray" / "test_killed.py",
    TESTS / "ray" / "test_matching.py",
    TESTS / "unit" / "reporting" / "test_mlflow_server.py",
    TESTS / "unit" / "reporting" / "test_mlflow_pages.py",
)
"""Tests that record faults."""
LOST = ("epochs", "pairs", "trials", "doubled")
HEAD = """# Faults

Each line is recorded by a test (most in `tests/faults`) after it has seen that nothing was lost that should
have stayed: `python tests/faults/table.py` (`--times`, `--soaks`, `--fuzz-s`: how much of it) runs them and
writes this file. Work lost is what had to be done again: epochs of trainings, pairs of photos matched;
finished trials that were lost or run twice; rows of MLflow that were missing or doubled. A dash: this fault
has nothing to do with it.

"""
FUZZED = """
## Fuzzing

Bytes that coverage leads (`python tests/fuzz/run.py TARGET --seconds N`); a finding is whatever is neither a
use of them nor a sentence on them within 20 s and 4 GB. What earlier runs found became tests in
`tests/faults/test_bad_input.py`.

| target | seconds | executions | findings | day |
|---|---|---|---|---|
"""


def run(seeds: int, records: Path, *, soak: bool, starts: int = 2) -> None:
    marked = ("-s", "-m", "soak") if soak else ()
    for seed in range(seeds):
        environment = os.environ | {"FAULT_SEED": str(seed), "FAULT_RECORDS": str(records)}
        environment["FAULT_STARTS"] = str(starts)
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", *marked, *map(str, RECORDING)]
        subprocess.run(command, env=environment, check=True)


def fuzz(seconds: int, records: Path) -> None:
    sys.path.insert(0, str(TESTS / "fuzz"))
    from targets import TARGETS

    for target in TARGETS:
        command = [sys.executable, str(TESTS / "fuzz" / "run.py"), target, "--seconds", str(seconds)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        with records.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fuzzed(target, seconds, ended.stderr, ended.returncode)) + "\n")


def fuzzed(target: str, seconds: int, text: str, code: int) -> dict[str, Any]:
    """What a run of the fuzzer says of itself."""
    executions = re.findall(r"stat::number_of_executed_units:\s*(\d+)", text)
    return {
        "fuzz": target,
        "seconds": seconds,
        "executions": int(executions[-1]),
        "found": int(code != 0),
        "day": time.strftime("%Y-%m-%d"),
    }


def table(lines: Iterable[dict[str, Any]]) -> str:
    """One row per fault: tries and losses are added up, ways to produce it are listed once."""
    found: dict[str, dict[str, Any]] = {}
    for line in lines:
        row = found.setdefault(line["fault"], {"how": [], "tried": 0, "survived": 0})
        if line["how"] not in row["how"]:
            row["how"].append(line["how"])
        for name in ("tried", "survived", *LOST):
            if name in line:
                row[name] = row.get(name, 0) + line[name]
    head = (
        "| fault | how produced | tried | survived | epochs again | pairs again | finished trials lost or "
        "run twice | MLflow rows missing or doubled |"
    )
    rows = [
        f"| {fault} | {'; '.join(row['how'][:3])} | {row['tried']} | {row['survived']} | "
        + " | ".join("-" if name not in row else str(row[name]) for name in LOST)
        + " |"
        for fault, row in sorted(found.items())
    ]
    return "\n".join([f"{len(rows)} kinds of faults.", "", head, "|---" * 8 + "|", *rows]) + "\n"


def fuzz_table(lines: Iterable[dict[str, Any]]) -> str:
    return "".join(
        f"| {line['fuzz']} | {line['seconds']} | {line['executions']} | {line['found']} | {line['day']} |\n"
        for line in lines
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--starts", type=int, default=2, help="of a study with changed bytes, each time")
    parser.add_argument("--soaks", type=int, default=0, help="whole studies, half an hour each")
    parser.add_argument("--fuzz-s", type=int, default=0, help="seconds for each target")
    parser.add_argument("--records", type=Path, action="append", default=[])
    parser.add_argument("--to", type=Path, default=TESTS.parent / "reports" / "faults.md")
    arguments = parser.parse_args()
    records = Path(tempfile.mkdtemp()) / "records.jsonl"
    records.touch()
    run(arguments.times, records, soak=False, starts=arguments.starts)
    run(arguments.soaks, records, soak=True)
    if arguments.fuzz_s:
        fuzz(arguments.fuzz_s, records)
    lines = [
        json.loads(line)
        for path in [records, *arguments.records]
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    text = HEAD + table(line for line in lines if "fault" in line)
    if by_fuzzing := [line for line in lines if "fuzz" in line]:
        text += FUZZED + fuzz_table(by_fuzzing)
    arguments.to.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

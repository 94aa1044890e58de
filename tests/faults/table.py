"""Write `reports/faults.md` from the tests of faults, run several times with other seeds.

`python tests/faults/table.py --times 3` runs them all but the soak; `--records FILE` adds what other runs
recorded there (`FAULT_RECORDS=FILE pytest -m soak tests/faults`). Nothing is typed by hand.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOST = ("epochs", "pairs", "trials", "doubled")
HEAD = """# Faults

Each line is recorded by a test (most in `tests/faults`) after it has seen that nothing was lost that should
have stayed: `python tests/faults/table.py` runs them and writes this file. Work lost is what had to be done
again:
epochs of trainings, pairs of photos matched; finished trials that were lost or run twice; rows of MLflow
that were missing or doubled. A dash: this fault has nothing to do with it.

"""


def run(times: int, records: Path) -> None:
    for seed in range(times):
        environment = os.environ | {"FAULT_SEED": str(seed), "FAULT_RECORDS": str(records)}
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", str(HERE)]
        subprocess.run(command, env=environment, check=True)


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--records", type=Path, action="append", default=[])
    parser.add_argument("--to", type=Path, default=HERE.parents[1] / "reports" / "faults.md")
    arguments = parser.parse_args()
    records = Path(tempfile.mkdtemp()) / "records.jsonl"
    records.touch()
    run(arguments.times, records)
    lines = [
        json.loads(line)
        for path in [records, *arguments.records]
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    arguments.to.write_text(HEAD + table(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

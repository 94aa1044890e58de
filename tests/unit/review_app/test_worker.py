"""One process answers batch after batch; one that fails or dies is replaced."""

import asyncio
import sys
from pathlib import Path

import pytest

from reid_ray.review_app.worker import Worker

ECHO = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    word = asked["arguments"][0]
    open(asked["log"], "w").write(f"{os.getpid()} {word}")
    if word == "die":
        os._exit(9)
    print(json.dumps({"code": int(word)}), flush=True)
"""


@pytest.mark.parametrize(
    ("words", "codes", "processes"),
    [
        (["0", "0", "2", "0"], [0, 0, 2, 0], 1),  # input that cannot be used is no fault of the process
        (["0", "1", "0"], [0, 1, 0], 2),
        (["die", "0"], [9, 0], 2),
    ],
)
def test_a_process_goes_on_until_it_fails(
    tmp_path: Path, words: list[str], codes: list[int], processes: int
) -> None:
    async def all_of_them() -> tuple[list[int], set[str]]:
        worker, seen, found = Worker(command=(sys.executable, "-c", ECHO)), set(), []
        for word in words:
            found.append(await worker.do([word], tmp_path / "log.txt"))
            seen.add((tmp_path / "log.txt").read_text().split()[0])
        await worker.end()
        assert worker.process is None
        return found, seen

    found, seen = asyncio.run(all_of_them())
    assert found == codes
    assert len(seen) == processes


def test_why_it_cannot_start_is_in_the_log(tmp_path: Path) -> None:
    broken = Worker(command=(sys.executable, "-c", "raise SystemExit('no such library')"))
    assert asyncio.run(broken.do(["0"], tmp_path / "log.txt")) == 1
    assert "no such library" in (tmp_path / "log.txt").read_text()

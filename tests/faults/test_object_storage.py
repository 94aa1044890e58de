"""Object storage that answers late, wrongly or not at all, and two machines that want one study of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Record
from s3_proxy import Fault, Proxy, proxied

from reid_ray.config.named import results_folder
from reid_ray.errors import StorageError
from reid_ray.runs import files, storage
from reid_ray.runs.lock import only_one
from reid_ray.runs.object_lock import Pace

QUICK = Pace(beat_s=0.2, lost_s=0.8, stale_s=1.6)
MACHINE = """
import sys, time
from pathlib import Path
from reid_ray.config.named import results_folder
from reid_ray.errors import ReidError
from reid_ray.runs import files
from reid_ray.runs.lock import only_one
from reid_ray.runs.object_lock import Pace

study = results_folder(sys.argv[1]) / "small"
print("ready", flush=True)
sys.stdin.readline()
try:
    with only_one(study, pace=Pace(beat_s=0.2, lost_s=0.8, stale_s=1.6)):
        print("held", flush=True)
        for number in range(6000):
            files.append(study / "rows", f"{number}\\n")
            time.sleep(0.01)
except ReidError as error:
    print(error, flush=True)
"""


@pytest.fixture
def proxy(bucket: str, s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """All that this process wants of the bucket goes through it."""
    with proxied(s3_server) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.address)
        storage.open_filesystem.cache_clear()
        yield between
    storage.open_filesystem.cache_clear()


def machine(uri: str, cache: Path) -> subprocess.Popen[str]:
    """Another machine, ready to start the study."""
    return subprocess.Popen(
        [sys.executable, "-c", MACHINE, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"REID_RAY_CACHE": str(cache)},
    )


def line(of: subprocess.Popen[str]) -> str:
    assert of.stdout
    return of.stdout.readline().strip()


def start(machines: list[subprocess.Popen[str]]) -> list[str]:
    """What each says that starts the study at the same time as the others."""
    assert [line(one) for one in machines] == ["ready"] * len(machines)
    for one in machines:
        assert one.stdin
        one.stdin.write("\n")
        one.stdin.flush()
    return [line(one) for one in machines]


def test_one_of_two_machines_has_a_study_and_loses_it_when_it_is_halted(
    bucket: str, tmp_path: Path, record: Record
) -> None:
    uri = f"{bucket}/runs"
    study = results_folder(uri) / "small"
    two = [machine(uri, tmp_path / str(number)) for number in range(2)]
    try:
        said = start(two)
        assert sorted(said)[0] == "held"
        (refusal,) = [text for text in said if text != "held"]
        winner = two[said.index("held")]
        assert f"small is being run already, by process {winner.pid} on " in refusal
        time.sleep(5 * QUICK.stale_s / 4)  # it is not stale while it is written
        with pytest.raises(StorageError, match=f"run already, by process {winner.pid}"):
            only_one(study, pace=QUICK).__enter__()

        os.kill(winner.pid, signal.SIGSTOP)
        told: list[str] = []
        with only_one(study, pace=QUICK, say=told.append) as held:
            assert f"s3://results/runs/small is locked by process {winner.pid} on" in told[0]
            rows = files.read_bytes(study / "rows")
            os.kill(winner.pid, signal.SIGCONT)
            assert f"s3://results/runs/small: process {os.getpid()} on" in (end := line(winner))
            assert "took the study over" in end
            assert winner.wait() == 0
            more = files.read_bytes(study / "rows").removeprefix(rows)
            assert more.count(b"\n") <= 1, "what was on its way when it was halted"
            files.append(study / "rows", "ours\n")
            assert not held.lost
    finally:
        for one in two:
            one.kill()
            one.wait()
    began = time.monotonic()
    with only_one(study, pace=Pace()):
        assert time.monotonic() - began < QUICK.stale_s + 10, "it was given back, so nobody waits"
    record(
        "object storage: two machines start one study",
        "at once; then the first is SIGSTOPped, taken over and SIGCONTed",
        tried=2,
        survived=2,
        doubled=0,
    )


def test_the_lock_of_a_killed_machine_is_taken_over(bucket: str, tmp_path: Path, record: Record) -> None:
    uri = f"{bucket}/runs"
    one = machine(uri, tmp_path / "one")
    try:
        assert start([one]) == ["held"]
    finally:
        one.kill()
        one.wait()
    told: list[str] = []
    with only_one(results_folder(uri) / "small", pace=QUICK, say=told.append):
        pass
    assert len(told) == 1
    assert "it is watched whether that still runs" in told[0]
    record(
        "object storage: a machine dies that holds a study",
        "SIGKILL, then a start elsewhere",
        tried=1,
        survived=1,
        doubled=0,
    )


@pytest.mark.parametrize("fault", ["ignores conditions", "501"])
def test_storage_without_conditional_puts_is_named(proxy: Proxy, bucket: str, fault: str) -> None:
    proxy.fault = lambda method, path: fault if method == "PUT" and "lock" in path else ""
    told: list[str] = []
    study = results_folder(f"{bucket}/runs") / "small"
    with only_one(study, pace=QUICK, say=told.append):
        files.append(study / "rows", "ours\n")
    assert len(told) == 1
    assert "s3://results/runs/small: this storage knows no conditional puts" in told[0]


def test_a_lock_whose_answers_are_lost_is_still_ours(proxy: Proxy, bucket: str) -> None:
    requests = 0

    def fault(method: str, path: str) -> str:
        nonlocal requests
        requests += method == "PUT" and ".lock" in path
        return "loses the answer" if method == "PUT" and ".lock" in path and requests % 2 == 1 else ""

    proxy.fault = fault
    with only_one(results_folder(f"{bucket}/runs") / "small", pace=QUICK) as held:
        time.sleep(5 * QUICK.beat_s)
        assert not held.lost
    assert proxy.hit > 3


def test_who_cannot_write_its_lock_stops_and_writes_nothing_more(
    proxy: Proxy, bucket: str, record: Record
) -> None:
    study = results_folder(f"{bucket}/runs") / "small"
    ends: list[str] = []

    def work() -> None:
        with only_one(study, pace=QUICK):
            proxy.fault = lambda method, path: "503" if ".lock" in path else ""
            try:
                time.sleep(30)
            except KeyboardInterrupt:
                ends.append("interrupted")
            proxy.fault = lambda method, path: ""
            with pytest.raises(StorageError, match="its lock could not be written"):
                files.append(study / "rows", "ours\n")

    with pytest.raises(StorageError, match=r"lock could not be written for 1 s .* the same command goes on"):
        work()
    assert ends == ["interrupted"]
    assert not files.exists(study / "rows")
    record(
        "object storage: the lock cannot be written", "503 to each put of it", tried=1, survived=1, doubled=0
    )


def some(times: int, fault: str) -> Fault:
    """That to the first puts of a file."""
    left = [times]

    def choose(method: str, path: str) -> str:
        if method not in ("PUT", "POST") or "rows" not in path or not left[0]:
            return ""
        left[0] -= 1
        return fault

    return choose


LARGE = os.urandom(11 << 20)
"""Is put in parts."""


@pytest.mark.parametrize("fault", ["503", "breaks off", "loses the answer"])
def test_a_put_that_fails_once_is_made_again(proxy: Proxy, bucket: str, fault: str, record: Record) -> None:
    path = results_folder(f"{bucket}/runs") / "small" / "rows"
    for content in (b"some", LARGE):
        proxy.fault = some(1, fault)
        files.write_bytes(path, content)
        assert files.read_bytes(path) == content
    assert proxy.hit == 2
    record(f"object storage: {fault}", "a proxy before a server, once", tried=2, survived=2)


@pytest.mark.parametrize("fault", ["503", "breaks off"])
def test_a_put_that_always_fails_says_so_and_the_old_object_stays(
    proxy: Proxy, bucket: str, fault: str, record: Record
) -> None:
    path = results_folder(f"{bucket}/runs") / "small" / "rows"
    files.write_bytes(path, b"old")
    proxy.fault = some(1000, fault)
    with pytest.raises(StorageError, match=r"s3://results/runs/small/rows: cannot be written"):
        files.write_bytes(path, b"some" if fault == "503" else LARGE)
    proxy.fault = lambda method, path: ""
    assert files.read_bytes(path) == b"old"
    record(f"object storage: {fault}", "a proxy before a server, always", tried=1, survived=1)


def test_half_an_object_is_not_taken_for_it(proxy: Proxy, bucket: str, record: Record) -> None:
    path = results_folder(f"{bucket}/runs") / "small" / "rows"
    files.write_bytes(path, LARGE)
    left = [1]

    def fault(method: str, path: str) -> str:
        if method != "GET" or "rows" not in path or not left[0]:
            return ""
        left[0] -= 1
        return "half an answer"

    proxy.fault = fault
    try:
        found = files.read_bytes(path)
    except OSError:
        found = LARGE
    assert found == LARGE
    assert proxy.hit == 1
    record("object storage: half an answer", "a proxy before a server, once", tried=1, survived=1)

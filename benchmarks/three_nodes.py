"""Run a study on three machines made of network namespaces, and compare it with one machine. Needs root.

    python benchmarks/three_nodes.py [--kill training|matching] [--keep]

Each machine has its own address, name (which, as on Debian, stands for 127.0.1.1 to itself), home, /tmp and
/dev/shm; they share nothing but the network. On a fourth address are a server of the S3 protocol (moto) and
MLflow on PostgreSQL. The study is submitted by `ray job submit` with a token. Then the same study runs on one
machine with a local folder, and every table must be the same, byte for byte. With `--kill`, the third machine
dies in the midst of that work, for good; what was finished before must not have been done again.
"""

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

BIN = Path(sys.executable).parent
CODE = Path(__file__).parents[1]
HOST, NODES = "10.77.0.1", ("10.77.0.11", "10.77.0.12", "10.77.0.13")
S3_PORT, MLFLOW_PORT, DATABASE_PORT = 9077, 5077, 5477
BUCKET = "results"
_PRIVATE = ("/tmp", "/home", "/dev/shm", "/var/tmp")
"""What each machine has for itself."""


def study(kill: str | None, workers: int) -> dict[str, Any]:
    """Small, but with every kind of work in it: trials, DDP, matching, a shortlist, a fusion."""
    synthetic = {"source": "synthetic", "identities": 8, "photos": 6, "size_px": 96}
    lrs = [0.05, 0.01]
    if workers:  # each of its trials takes a minute to start
        lrs = [0.05]
    if kill == "matching":  # enough photos for matching to last
        synthetic, lrs = synthetic | {"identities": 16, "photos": 16}, [0.05]
    return {
        "name": "nodes",
        "data": {
            "datasets": [
                {**synthetic, "name": "zebra", "species": "zebra"},
                {**synthetic, "name": "giraffe", "species": "giraffe"},
            ],
            "unseen": ["giraffe"],
            "images": {"short_px": 96},
        },
        "grid": {
            "backbones": ["test_resnet"],
            "lrs": lrs,
            "arcface": {"margins_rad": [0.25, 0.5], "scales": [16.0]},
            "triplet": {"minings": ["all"], "margins": [0.2]},
        },
        "training": {
            "weights": "random",
            "input_px": 64,
            "epochs": 12,
            "batch_size": 16,
            "checkpoint_every_s": 0,
        },
        "baselines": {
            "matching": [
                {"name": "SIFT"},
                {"name": "SIFT-few", "shortlist": {"by": "selected_trial", "size": 3}},
            ]
        },
        "fusion": [{"parts": ["SIFT", "selected_trial"]}],
        "scaling": {"workers": workers},
    }


def sh(*command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=True, text=True, capture_output=True, **options)


@contextmanager
def network() -> Iterator[list[str]]:
    """A bridge with this machine's address, and a namespace per node; yields their names."""
    bridge = "rr0"
    names = [f"rr{number}" for number in range(1, len(NODES) + 1)]
    sh("ip", "link", "add", bridge, "type", "bridge")
    try:
        sh("ip", "address", "add", f"{HOST}/24", "dev", bridge)
        sh("ip", "link", "set", bridge, "up")
        for name, address in zip(names, NODES, strict=True):
            sh("ip", "netns", "add", name)
            sh("ip", "link", "add", f"v{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            sh("ip", "link", "set", f"v{name}", "master", bridge, "up")
            for part in (f"address add {address}/24 dev eth0", "link set eth0 up", "link set lo up"):
                sh("ip", "-n", name, *part.split())
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", bridge], check=False)


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children, ended at the end."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
        try:
            yield process
        finally:
            try:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(20)
            except ProcessLookupError:
                pass
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(what: str, ready: Callable[[], Any], *, timeout_s: float = 120) -> Any:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        try:
            if found := ready():
                return found
        except (OSError, subprocess.SubprocessError, KeyError):
            pass
        time.sleep(0.5)
    raise TimeoutError(what)


def answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=5) as response:
        return bool(response.status == 200)


@contextmanager
def services(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Object storage, PostgreSQL and MLflow on the host's address."""
    found = next(Path("/usr/lib/postgresql").glob("*/bin"))
    data = folder / "postgres"
    data.mkdir()
    shutil.chown(data, "postgres", "postgres")
    folder.chmod(0o755)
    as_postgres = ["runuser", "-u", "postgres", "--"]
    sh(*as_postgres, str(found / "initdb"), "-D", str(data), "-A", "trust", "-U", "mlflow", cwd="/")
    with (data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {HOST}/24 trust\n")
    database = f"{found}/postgres -D {data} -h {HOST} -p {DATABASE_PORT} -k {data}".split()
    with ExitStack() as stack:
        stack.enter_context(running(as_postgres + database, folder / "postgres.log", cwd="/"))
        s3 = f"{BIN}/moto_server -H {HOST} -p {S3_PORT}".split()
        stack.enter_context(running(s3, folder / "s3.log"))
        wait_for("S3", lambda: answers(f"http://{HOST}:{S3_PORT}/moto-api/"))
        client(environment).create_bucket(Bucket=BUCKET)
        address = f"postgresql+psycopg2://mlflow@{HOST}:{DATABASE_PORT}/postgres"
        server = (
            f"{BIN}/mlflow server --backend-store-uri {address} --artifacts-destination s3://{BUCKET}/mlflow "
            f"--host {HOST} --port {MLFLOW_PORT} --workers 1 --allowed-hosts {HOST}:{MLFLOW_PORT}"
        ).split()
        stack.enter_context(running(server, folder / "mlflow.log", env=environment))
        wait_for("MLflow", lambda: answers(f"http://{HOST}:{MLFLOW_PORT}/health"))
        yield


def client(environment: dict[str, str]) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )


def inside(name: str, folder: Path, command: list[str]) -> list[str]:
    """A command on a machine: its network, name and files, of which no other machine sees any."""
    own = folder / name
    mounts = "".join(f"mount --bind {own}{path} {path} && " for path in _PRIVATE[1:])
    # The last, as the folders themselves lie below /tmp.
    mounts += f"mount --bind {own}/hosts /etc/hosts && mount --bind {own}/tmp /tmp && "
    script = f'hostname {name} && {mounts}exec "$@"'
    return ["ip", "netns", "exec", name, "unshare", "--uts", "sh", "-c", script, "sh", *command]


@contextmanager
def nodes(names: list[str], folder: Path, environment: dict[str, str]) -> Iterator[list[str]]:
    """A head and two workers; yields the names of those that run."""
    with ExitStack() as stack:
        for number, (name, address) in enumerate(zip(names, NODES, strict=True)):
            for path in _PRIVATE:
                (folder / name / path.lstrip("/")).mkdir(parents=True)
            hosts = f"127.0.0.1 localhost\n127.0.1.1 {name}\n"
            (folder / name / "hosts").write_text(hosts)
            role = f"--address {NODES[0]}:6379"
            if number == 0:
                role = (
                    '--head --port 6379 --dashboard-host 127.0.0.1 --temp-dir /tmp/ray --resources {"head":1}'
                )
            command = (
                f"{BIN}/ray start --block --num-cpus 1 --node-ip-address {address} "
                f"--object-store-memory {200 * 2**20} --disable-usage-stats {role}"
            ).split()
            started = running(inside(name, folder, command), folder / f"{name}.log", env=environment, cwd="/")
            stack.enter_context(started)
            if number == 0:
                wait_for("head", lambda: submit(names[0], folder, environment, "true"))
        there = "import ray; ray.init(logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()))"
        wait_for("workers", lambda: "\n3\n" in submit(names[0], folder, environment, "python", "-c", there))
        yield names


def submit(head: str, folder: Path, environment: dict[str, str], *command: str) -> str:
    """Output of a job."""
    submitted = [*f"{BIN}/ray job submit --address http://127.0.0.1:8265 --".split(), *command]
    # Into the head's own files, as `ray job submit` would run there.
    done = subprocess.run(
        inside(head, folder, submitted), env=environment, cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise subprocess.SubprocessError(done.stdout[-6000:] + done.stderr[-3000:])
    return done.stdout


def results(environment: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Result files in the object storage by method: when they were written, and their checksum."""
    pages = (
        client(environment)
        .get_paginator("list_objects_v2")
        .paginate(Bucket=BUCKET, Prefix="runs/nodes/methods/")
    )
    return {
        one["Key"].split("/")[3]: (one["LastModified"].isoformat(), one["ETag"])
        for page in pages
        for one in page.get("Contents", ())
        if one["Key"].endswith("/result.json")
    }


def kill_when(
    work: str, victim: str, environment: dict[str, str], say: Callable[[str], None]
) -> dict[str, tuple[str, str]]:
    """End all processes of a machine in the midst of that work; what was finished by then."""
    s3 = client(environment)

    def in_the_midst() -> bool:
        listed = s3.list_objects_v2(Bucket=BUCKET, Prefix="runs/nodes/methods/")
        names = [one["Key"] for one in listed.get("Contents", ())]
        if work == "matching":
            return any("/chunks/" in name for name in names)
        trained = {name.split("/")[3] for name in names if name.endswith("manifest.json")}
        ended = {name.split("/")[3] for name in names if name.endswith("result.json")}
        return bool(trained & ended) and bool(trained - ended)

    wait_for(work, in_the_midst, timeout_s=400)
    before = results(environment)
    pids = sh("ip", "netns", "pids", victim).stdout.split()
    tasks = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode() for pid in pids]
    busy = sorted(name for name in tasks if name.startswith("ray::") and "IDLE" not in name)
    for pid in pids:
        os.kill(int(pid), signal.SIGKILL)
    say(
        f"killed {victim} ({len(pids)} processes, among them {', '.join(busy)}); "
        f"{len(before)} methods were finished"
    )
    return before


def download(environment: dict[str, str], to: Path) -> None:
    """Reports and method tables as they lie in object storage."""
    s3 = client(environment)
    for prefix in ("runs/nodes/", "reports/nodes/"):
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix):
            for one in page.get("Contents", ()):
                if one["Key"].endswith("/"):  # the mark of a folder that pyarrow emptied
                    continue
                path = to / one["Key"]
                path.parent.mkdir(parents=True, exist_ok=True)
                s3.download_file(BUCKET, one["Key"], str(path))


_TIMED = ("seconds", "hours", "per_second", "started")


def tables(folder: Path) -> dict[str, str]:
    """sha256 of each table: rows, split, each method's answers and figures, the report's CSVs.

    Left out is what a clock decides: seconds and what is made of them.
    """
    found = {}
    for path in sorted((folder / "runs/nodes").glob("methods/*/predictions.parquet")):
        found[path.parent.name + " answers"] = path.read_bytes()
    for path in sorted((folder / "runs/nodes").glob("methods/*/result.json")):
        raw = json.loads(path.read_text())
        raw["params"].pop("pairs_per_second", None)
        kept = {name: raw[name] for name in ("method", "status", "params", "metrics", "note")}
        found[path.parent.name + " result"] = json.dumps(kept, sort_keys=True).encode()
    for name in ("split.csv", "split.json"):
        found[name] = (folder / "runs/nodes" / name).read_bytes()
    import pandas as pd

    for path in sorted((folder / "reports/nodes").glob("*.csv")):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        timed = [name for name in table if any(word in name for word in _TIMED)]
        text = table.drop(columns=timed).to_csv(index=False)
        if path.stem != "cost":
            found[path.name] = re.sub(r"pairs_per_second=[\d.]+", "", text).encode()
    return {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kill", choices=["training", "matching"])
    parser.add_argument("--workers", type=int, default=0, help="DDP workers of a trial (default: 0)")
    parser.add_argument("--work", default="/tmp/rr", help="folder of all of it, emptied (default: /tmp/rr)")
    parser.add_argument("--keep", action="store_true", help="leave the folder behind")
    arguments = parser.parse_args()
    folder = Path(arguments.work)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended all the same

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    code = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(CODE), "HOME": "/root"}
    environment = (
        kept
        | code
        | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "AWS_ENDPOINT_URL": f"http://{HOST}:{S3_PORT}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://{HOST}:{S3_PORT}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "OMP_NUM_THREADS": "1",
        }
    )
    config = yaml.safe_dump(study(arguments.kill, arguments.workers))
    before: dict[str, tuple[str, str]] = {}
    with network() as names, services(folder, environment), nodes(names, folder, environment):
        say("three nodes, S3, PostgreSQL and MLflow run")
        (folder / names[0] / "home" / "nodes.yaml").write_text(config)
        submitted = (
            f'{BIN}/ray job submit --address http://127.0.0.1:8265 --entrypoint-resources {{"head":1}} -- '
            f"python -m reid_ray.tune /home/nodes.yaml --set storage=s3://{BUCKET}/runs "
            f"--set reports=s3://{BUCKET}/reports --set tracking_uri=http://{HOST}:{MLFLOW_PORT}"
        ).split()
        log = folder / "job.log"
        started = time.monotonic()
        with running(inside(names[0], folder, submitted), log, env=environment, cwd="/") as job:
            if arguments.kill:
                before = kill_when(arguments.kill, names[-1], environment, say)
            code_of_job = job.wait(560)
        print(log.read_text()[-5000:])
        say(f"the job ended with {code_of_job} after {time.monotonic() - started:.1f} s")
        assert code_of_job == 0
        after = results(environment)
        download(environment, folder / "cluster")
        again = [key for key, was in before.items() if after[key] != was]
        runs = mlflow_runs(environment)
    say(
        f"{len(after)} methods in S3, {runs} runs in MLflow; of {len(before)} finished before the "
        f"kill {len(again)} were written again"
    )
    assert not again
    one = folder / "one"
    one.mkdir()
    (one / "nodes.yaml").write_text(config)
    alone = kept | code | {"HOME": str(one), "OMP_NUM_THREADS": "1"}
    sh(*f"{BIN}/python -m reid_ray.tune nodes.yaml".split(), cwd=one, env=alone)
    ours, theirs = tables(folder / "cluster"), tables(one)
    differ = sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))
    say(
        f"one node: {len(theirs)} tables; {len(ours) - len(differ)} are the same byte for byte"
        + (f", these are not: {differ}" if differ else "")
    )
    if not arguments.keep:
        shutil.rmtree(folder)
    sys.exit(1 if differ else 0)


def mlflow_runs(environment: dict[str, str]) -> int:
    request = urllib.request.Request(
        f"http://{HOST}:{MLFLOW_PORT}/api/2.0/mlflow/runs/search",
        data=json.dumps({"experiment_ids": ["1"], "max_results": 1000}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return len(json.load(response).get("runs", ()))


if __name__ == "__main__":
    main()

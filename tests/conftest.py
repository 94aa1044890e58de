"""Settings of all tests."""

import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("any_machine", deadline=None, max_examples=50)
settings.load_profile("any_machine")


# A shell that starts tests in the background has them ignore Ctrl-C; some of them press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Ray starts its workers at niceness 15: beside other tests on a small machine they would hardly ever run.
os.environ.setdefault("RAY_worker_niceness", "0")

BESIDE = {f"test_{name}" for name in ("jobs", "matching", "joined", "killed", "intake_on_ray", "identify")}
"""Files on Ray that take about as long as the others on Ray, so that two processes end together."""
_ON_RAY = ("identify", "matching", "selected", "splitting", "near_duplicates_by_workers", "nodes")
_IN_BROWSERS = ("browser", "in_browser", "decide_by_keys", "draw_region")
SLOW = {f"test_{name}" for name in (*_ON_RAY, *_IN_BROWSERS, "object_storage", "bad_input")}
"""Files that start clusters, servers or browsers, or train: checked before a change lands."""
_STUDIES = ("asha", "paper", "withheld", "tutorial", "joined", "evaluate_study", "animalclef_on_ray")
_STUDIES += ("intake_on_ray", "secrets", "shared_machine", "region_asked_again", "asked_again")
_FAULTS = ("stopped", "killed", "spoilt_storage", "review_killed", "processes", "tracking_faults", "fuzz")
RELEASE = {f"test_{name}" for name in (*_STUDIES, *_FAULTS, "jobs", "mlflow_pages", "mlflow_server")}
"""Files that train study after study, or kill, halt and fuzz for minutes: checked before a release."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep tests on Ray in two processes, each of which starts it once, and each other file in one.

    Leave out those marked `soak`, and of a run of all tests those marked `slow`, where `-m` does not ask for
    them. Those marked `release` are slow, too.
    """
    for item in items:
        if item.path.stem in RELEASE or item.get_closest_marker("large"):
            item.add_marker(pytest.mark.release)
        if item.path.stem in SLOW or item.get_closest_marker("release"):
            item.add_marker(pytest.mark.slow)
    every = config.args in ([], config.getini("testpaths"))
    marks = {"soak": True, "slow": every}
    unwanted = [mark for mark, left_out in marks.items() if left_out and mark not in config.option.markexpr]
    away = [item for item in items if any(item.get_closest_marker(mark) for mark in unwanted)]
    config.hook.pytest_deselected(items=away)
    items[:] = [item for item in items if item not in away]
    for item in items:
        group = item.path.stem
        if "ray" in Path(item.path).parts:
            group = "ray, beside" if group in BESIDE else "ray"
        item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of a real server of the S3 protocol on this machine."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    put, one_at_a_time = S3Response.put_object, Lock()

    def put_object(self: S3Response) -> object:
        """As S3 does, decide on a condition and write in one."""
        with one_at_a_time:
            return put(self)

    S3Response.put_object = put_object

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> str:
    """URI of an empty bucket; this process is a machine with an empty cache."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "REID_RAY_CACHE": str(tmp_path_factory.mktemp("cache")),
    }.items():
        monkeypatch.setenv(name, value)
    from reid_ray.runs import storage

    storage.open_filesystem.cache_clear()
    urllib.request.urlopen(f"{s3_server}/moto-api/reset", data=b"")
    import boto3

    boto3.client("s3").create_bucket(Bucket="results")
    return "s3://results"

"""A real server of the S3 protocol on this machine."""

import urllib.request
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from reid_ray.runs import storage


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    yield f"http://127.0.0.1:{port}"
    server.stop()


@pytest.fixture
def bucket(
    s3_server: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """URI of an empty bucket; this process is a machine with an empty cache."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_server, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "REID_RAY_CACHE": str(tmp_path_factory.mktemp("cache")),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    storage.open_filesystem.cache_clear()
    urllib.request.urlopen(f"{s3_server}/moto-api/reset", data=b"")
    boto3.client("s3").create_bucket(Bucket="results")
    return "s3://results"

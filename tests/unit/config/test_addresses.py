"""No address with a password gets in, and the error does not repeat it."""

from pathlib import Path

import pytest

from reid_ray.config.addresses import refuse_userinfo
from reid_ray.config.base import as_written, load
from reid_ray.config.tune import Study
from reid_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("address", "variable"),
    [
        ("http://alice:hunter2@mlflow:5000", "MLFLOW_TRACKING_PASSWORD"),
        ("https://hunter2@mlflow", "MLFLOW_TRACKING_PASSWORD"),
        ("s3://AKIA:hunter2@bucket/runs", "AWS_SECRET_ACCESS_KEY"),
        ("s3://AKIA:ab/hunter2+x@bucket/runs", "AWS_SECRET_ACCESS_KEY"),
        ("gs://hunter2@bucket", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("postgresql+psycopg2://alice:hunter2@db/mlflow", "PGPASSWORD"),
        ("https://mlflow/?access_token=hunter2", "MLFLOW_TRACKING_PASSWORD"),
        ("tracking_uri=http://alice:hunter2@mlflow:5000", "MLFLOW_TRACKING_PASSWORD"),
        ("ftp://alice:hunter2@host", "variables that its library reads"),
    ],
)
def test_a_password_in_an_address_is_refused_with_the_variable_to_use(address: str, variable: str) -> None:
    with pytest.raises(ConfigError, match="take them out of the address") as told:
        refuse_userinfo(address, "storage")
    assert variable in str(told.value)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://mlflow:5000/path@2x",
        "http://[::1]:5000",
        "s3://bucket/runs/photo@2x.jpg",
        "s3://bucket/a:b/c",
        "sqlite:////home/alice@lab/m.db",
        "/home/alice@lab/photos",
        "hf-hub:timm/model",
        "https://mlflow/?page=2",
    ],
)
def test_other_addresses_are_taken(address: str) -> None:
    refuse_userinfo(address, "storage")


STUDY = """
name: s
data:
  datasets:
  - {source: folder, name: a, root: "${PHOTOS_OF}/a"}
  - {source: synthetic, name: b, species: zebra}
storage: ${STORAGE_OF:-runs}
tracking_uri: ${TRACKING_OF:-http://mlflow:5000}
"""


def test_what_the_environment_brings_is_refused_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text(STUDY)
    monkeypatch.setenv("PHOTOS_OF", "s3://AKIA:hunter2@bucket")
    with pytest.raises(ConfigError, match=r"data\.datasets\.0\.root: an address s3://\.\.\.") as told:
        load(Study, tmp_path / "s.yaml")
    assert "hunter2" not in str(told.value)


def test_a_config_is_stored_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "s.yaml").write_text(STUDY)
    monkeypatch.setenv("PHOTOS_OF", "/home/alice/secret")
    study = load(Study, tmp_path / "s.yaml", ["reports=${PHOTOS_OF}"])
    assert study.reports == "/home/alice/secret"
    stored = as_written(study.model_dump(mode="json"))
    assert stored["data"]["datasets"][0]["root"] == "${PHOTOS_OF}/a"
    assert stored["reports"] == "${PHOTOS_OF}"
    assert (stored["storage"], stored["name"]) == ("${STORAGE_OF:-runs}", "s")
    assert "alice" not in str(stored)

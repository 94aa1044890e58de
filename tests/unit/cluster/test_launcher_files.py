"""`ray up` files: Ray's own schema, the token, spot workers, one shared folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from cluster_files import CLUSTER, LAUNCHER, documents
from ray.autoscaler._private.util import prepare_config, validate_config

each_file = pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)


def config_of(path: Path) -> dict[str, Any]:
    (config,) = documents(path)
    return config


@each_file
def test_ray_accepts_the_file(path: Path) -> None:
    prepared = prepare_config(config_of(path))
    validate_config(prepared)
    assert prepared["head_node_type"] == "head"


@each_file
def test_the_head_takes_no_tasks_and_one_driver(path: Path) -> None:
    config = config_of(path)
    assert config["available_node_types"]["head"]["resources"] == {"CPU": 0, "head": 1}
    start = config["head_start_ray_commands"][-1]
    assert "--num-cpus=0" in start
    assert """--resources='{"head": 1}'""" in start


@each_file
def test_workers_are_spot_machines_with_a_gpu_that_come_and_go(path: Path) -> None:
    config = config_of(path)
    gpu, head = (config["available_node_types"][name]["node_config"] for name in ("gpu", "head"))
    spot = {
        "aws": lambda node: node.get("InstanceMarketOptions", {}).get("MarketType") == "spot",
        "gcp": lambda node: node.get("scheduling", {}).get("provisioningModel") == "SPOT",
    }[config["provider"]["type"]]
    assert spot(gpu)
    assert not spot(head)
    worker = config["available_node_types"]["gpu"]
    assert worker["resources"]["GPU"] == 1
    assert worker["min_workers"] == 0 < worker["max_workers"] <= config["max_workers"]


@each_file
def test_every_node_starts_with_the_token_and_shares_the_folder(path: Path) -> None:
    config = config_of(path)
    for role in ("head", "worker"):
        start = config[f"{role}_start_ray_commands"][-1]
        assert "RAY_AUTH_MODE=token ray start" in start
    assert config["file_mounts"] == {"~/.ray/auth_token": "~/.ray/auth_token"}
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"]
    options = config["docker"]["run_options"]
    assert "-e RAY_AUTH_MODE=token" in options
    assert "-v /shared:/shared" in options
    assert any(option.startswith("--shm-size=") for option in options)
    assert any("mountpoint -q /shared || sudo mount" in each for each in config["initialization_commands"])


def test_machines_of_aws_are_in_a_group_of_their_own_and_have_no_open_metadata() -> None:
    config = config_of(LAUNCHER[0])
    for node in config["available_node_types"].values():
        assert node["node_config"]["SecurityGroupIds"] == ["sg-YOUR_GROUP"]
        assert node["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


def test_the_head_of_aws_may_end_only_machines_of_this_cluster() -> None:
    config = config_of(LAUNCHER[0])
    policy = json.loads((CLUSTER / "aws-head-policy.json").read_text())
    head, gpu = (config["available_node_types"][name]["node_config"] for name in ("head", "gpu"))
    assert head["IamInstanceProfile"] == {"Name": "reid-ray-head"}
    tag = "ray-cluster-name"  # which Ray gives every machine it starts
    for statement in policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions)
        if "ec2:TerminateInstances" in actions:
            assert statement["Condition"]["StringEquals"] == {
                f"ec2:ResourceTag/{tag}": config["cluster_name"]
            }
        if "instance/*" in str(statement["Resource"]) and "ec2:RunInstances" in actions:
            limits = statement["Condition"]["StringEquals"]
            assert limits[f"aws:RequestTag/{tag}"] == config["cluster_name"]
            assert limits["ec2:InstanceType"] == gpu["InstanceType"]
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in actions)
        assert "iam:" not in str(actions)

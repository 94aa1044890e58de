"""Kubernetes manifests: strict schemas, and what must agree between them."""

import copy
import json
import re
from ipaddress import ip_address, ip_network
from typing import Any

import jsonschema
import kuberay_schema
import kubernetes_validate
import pytest
from cluster_files import README, manifests, of_kind, pod_templates, ray_cluster_specs

KUBERNETES = "1.37"
OURS = {"RayCluster", "RayJob"}
UNITS = {"Mi": 2**20, "Gi": 2**30}


def bytes_of(quantity: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi)", quantity)
    assert match, quantity
    return int(match[1]) * UNITS[match[2]]


def validate(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_kubernetes_knows_every_field_of_its_own_kinds() -> None:
    for _, document in manifests():
        if document["kind"] not in OURS:
            validate(document)


def test_kuberay_knows_every_field_of_its_kinds() -> None:
    found = [document for _, document in manifests() if document["kind"] in OURS]
    assert {document["kind"] for document in found} == OURS
    for document in found:
        jsonschema.validate(document, kuberay_schema.of(document["kind"]))


def test_the_schema_of_kuberay_refuses_unknown_fields_at_every_level() -> None:
    (cluster,) = of_kind("RayCluster")
    levels = [
        (),
        ("spec",),
        ("spec", "headGroupSpec"),
        ("spec", "workerGroupSpecs", 0),
        ("spec", "autoscalerOptions"),
        ("spec", "authOptions"),
    ]
    for level in levels:
        broken: Any = copy.deepcopy(cluster)
        place = broken
        for key in level:
            place = place[key]
        place["replica"] = 1
        with pytest.raises(jsonschema.ValidationError, match="replica"):
            jsonschema.validate(broken, kuberay_schema.of("RayCluster"))


def test_kubernetes_knows_every_field_of_the_pods_that_kuberay_makes() -> None:
    for template in pod_templates():
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
        validate({**pod, "template": template})
    for spec in ray_cluster_specs():
        options = spec["autoscalerOptions"]
        parts = {key: options[key] for key in ("resources", "securityContext")}
        container = {"name": "autoscaler", "image": "any:1", **parts}
        validate({**pod, "template": {"spec": {"containers": [container]}}})


def test_no_pod_may_become_root_or_gain_rights() -> None:
    for template in pod_templates():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
    for spec in ray_cluster_specs():
        assert spec["autoscalerOptions"]["securityContext"]["allowPrivilegeEscalation"] is False


def test_every_container_has_requests_and_limits_of_memory_cpu_and_disk() -> None:
    for template in pod_templates():
        for container in template["spec"]["containers"]:
            for side in ("requests", "limits"):
                assert {"cpu", "memory", "ephemeral-storage"} <= set(container["resources"][side])


def test_every_mount_has_a_volume_and_every_claim_is_made() -> None:
    claims = {claim["metadata"]["name"]: claim["spec"] for claim in of_kind("PersistentVolumeClaim")}
    for template in pod_templates():
        volumes = {volume["name"]: volume for volume in template["spec"].get("volumes", [])}
        for container in template["spec"]["containers"]:
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted == set(volumes)
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claims[claim["claimName"]]["accessModes"] == ["ReadWriteMany"]


def ray_pods() -> list[dict[str, Any]]:
    found = []
    for spec in ray_cluster_specs():
        found += [spec["headGroupSpec"]["template"]["spec"]]
        found += [group["template"]["spec"] for group in spec["workerGroupSpecs"]]
    return found


def test_object_store_is_in_memory_that_the_pod_has() -> None:
    for pod in ray_pods():
        (container,) = pod["containers"]
        paths = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        shm = volumes[paths["/dev/shm"]]["emptyDir"]
        assert shm["medium"] == "Memory"
        memory = bytes_of(container["resources"]["limits"]["memory"])
        assert bytes_of(shm["sizeLimit"]) <= memory // 2
        assert "/shared" in paths


def test_workers_scale_from_none_and_may_be_spot_machines_with_one_gpu() -> None:
    for spec in ray_cluster_specs():
        assert spec["enableInTreeAutoscaling"] is True
        (group,) = spec["workerGroupSpecs"]
        assert group["minReplicas"] == 0 <= group["replicas"] <= group["maxReplicas"]
        pod = group["template"]["spec"]
        resources = pod["containers"][0]["resources"]
        assert resources["requests"] == resources["limits"]
        assert resources["limits"]["nvidia.com/gpu"] == "1"
        tolerated = {toleration["key"] for toleration in pod["tolerations"]}
        assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= tolerated
        assert "tolerations" not in spec["headGroupSpec"]["template"]["spec"]


def test_head_takes_no_tasks_and_one_driver() -> None:
    for spec in ray_cluster_specs():
        start = spec["headGroupSpec"]["rayStartParams"]
        assert start["num-cpus"] == "0"
        # KubeRay pastes the value into a shell command, so that it is JSON in quotes.
        assert json.loads(json.loads(start["resources"])) == {"head": 1}
    (job,) = of_kind("RayJob")
    assert json.loads(job["spec"]["entrypointResources"]) == {"head": 1}


def test_both_files_describe_the_same_cluster() -> None:
    specs = [copy.deepcopy(spec) for spec in ray_cluster_specs()]
    replicas = [spec["workerGroupSpecs"][0].pop("replicas") for spec in specs]
    assert specs[0] == specs[1]
    assert replicas[0] == 0 < replicas[1]  # a job starts when its replicas are there


def test_the_token_is_asked_for_and_its_secret_is_the_one_that_the_readme_makes() -> None:
    for spec in ray_cluster_specs():
        assert spec["authOptions"]["mode"] == "token"
        name = spec["authOptions"]["secretName"]
        assert f"create secret generic {name} --from-literal=auth_token=" in README.read_text()
    assert not of_kind("Secret"), "a secret in a file is none"


def test_a_retried_job_frees_its_cluster_and_has_an_end() -> None:
    (job,) = of_kind("RayJob")
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert "clusterSelector" not in spec
    assert spec["backoffLimit"] >= 1
    assert spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]


def test_network_policies_cover_every_pod_and_their_callers() -> None:
    policies = {policy["metadata"]["namespace"]: policy["spec"] for policy in of_kind("NetworkPolicy")}
    for template in pod_templates():
        name = template["metadata"]["labels"]["app.kubernetes.io/name"]
        namespace = {"reid-ray": "reid-ray", "mlflow": "mlflow"}[name]
        assert policies[namespace]["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": name}
        assert "Ingress" in policies[namespace]["policyTypes"]
    ours = {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "reid-ray"}}}
    assert {"from": [ours]} in policies["reid-ray"]["ingress"]
    assert {"to": [ours]} in policies["reid-ray"]["egress"]
    assert all("from" in rule for policy in policies.values() for rule in policy["ingress"])
    namespaces = {each["metadata"]["name"] for each in of_kind("Namespace")}
    assert set(policies) == namespaces


def reached(egress: list[dict[str, Any]], address: str, port: int) -> bool:
    """Whether a policy lets a pod reach an address outside the cluster, as Kubernetes reads it."""
    ip = ip_address(address)
    for rule in egress:
        blocks = [one["ipBlock"] for one in rule.get("to", []) if "ipBlock" in one]
        inside = not rule.get("to") or any(
            ip in ip_network(block["cidr"])
            and not any(ip in ip_network(one) for one in block.get("except", []))
            for block in blocks
        )
        if inside and (not rule.get("ports") or port in [one["port"] for one in rule["ports"]]):
            return True
    return False


def test_pods_reach_their_own_credentials_and_never_the_nodes() -> None:
    (egress,) = (
        policy["spec"]["egress"]
        for policy in of_kind("NetworkPolicy")
        if policy["metadata"]["namespace"] == "reid-ray"
    )
    for port in (80, 443, 8080):
        assert not reached(egress, "169.254.169.254", port)  # the metadata server of AWS, Azure and Google
    assert reached(egress, "169.254.170.23", 80)  # EKS Pod Identity
    assert reached(egress, "169.254.169.252", 988)  # GKE Workload Identity Federation
    assert reached(egress, "52.216.1.1", 443)  # object storage
    assert not reached(egress, "52.216.1.1", 22)
    assert not reached(egress, "8.8.8.8", 53)  # names are asked of the cluster alone

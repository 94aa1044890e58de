"""The files below cluster/, read for the tests beside this one."""

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
CLUSTER = ROOT / "cluster"
LAUNCHER = (CLUSTER / "aws.yaml", CLUSTER / "gcp.yaml")
COMPOSE = (CLUSTER / "compose.yaml", CLUSTER / "mlflow" / "compose.yaml")
MANIFESTS = (*sorted((CLUSTER / "kuberay").glob("*.yaml")), CLUSTER / "mlflow" / "kubernetes.yaml")
DOCKERFILE = CLUSTER / "image" / "Dockerfile"
README = CLUSTER / "README.md"
PROGRAMS = ("ray", "mlflow", "python", "CMD")
ALL = sorted(path for path in CLUSTER.rglob("*") if path.is_file() and path.name != ".env")


def documents(path: Path) -> list[Any]:
    """All documents of a YAML file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def manifests() -> list[tuple[str, dict[str, Any]]]:
    """(file and kind, document) of every Kubernetes manifest."""
    return [
        (f"{path.relative_to(ROOT)} {document['kind']}", document)
        for path in MANIFESTS
        for document in documents(path)
    ]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for _, document in manifests() if document["kind"] == kind]


def ray_cluster_specs() -> list[dict[str, Any]]:
    """Of the RayCluster, and of the one that the RayJob brings along."""
    jobs = [job["spec"]["rayClusterSpec"] for job in of_kind("RayJob")]
    return [cluster["spec"] for cluster in of_kind("RayCluster")] + jobs


def pod_templates() -> list[dict[str, Any]]:
    """Every pod template of every manifest."""
    found = [deployment["spec"]["template"] for deployment in of_kind("Deployment")]
    found += [job["spec"]["submitterPodTemplate"] for job in of_kind("RayJob")]
    for spec in ray_cluster_specs():
        found += [spec["headGroupSpec"]["template"]]
        found += [group["template"] for group in spec["workerGroupSpecs"]]
    return found


def strings(node: Any) -> list[str]:
    """Every string in a document, keys aside."""
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, list):
        return [text for each in node for text in strings(each)]
    return [node] if isinstance(node, str) else []


def commands(program: str) -> list[list[str]]:
    """Words of each call of `program` ("ray start", say) in any file, up to where the call ends.

    Lines that end in a backslash, and lines that YAML folds, are put together first.
    """
    found = []
    for path in ALL:
        text = path.read_text().replace("\\\n", " ")
        if path.suffix == ".yaml":
            text = "\n".join(" ".join(each.split()) for each in _yaml_strings(path))
        for line in text.splitlines():
            for match in re.finditer(rf"(?<![\w./-]){re.escape(program)}(?![\w-])[^`|;&#]*", line):
                found.append(_words(match[0]))
    return found


def _yaml_strings(path: Path) -> list[str]:
    """Strings of a file; a list of words, as a container's command, counts as one string."""

    def joined(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: joined(value) for key, value in node.items()}
        if isinstance(node, list) and node and all(isinstance(each, str) for each in node):
            return shlex.join(node) if node[0] in PROGRAMS else node
        return [joined(each) for each in node] if isinstance(node, list) else node

    return strings([joined(document) for document in documents(path)])


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # the call stands inside quotes of a larger one
        return text.replace("'", "").replace('"', "").split()

"""Fields of KubeRay's own kinds as a strict JSON schema: an unknown field is refused.

Source: the API reference of KubeRay 1.6 (RayCluster and RayJob of ray.io/v1). Pod templates and their
parts are left open here, as Kubernetes' own schema knows them.
"""

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_SECONDS: Schema = {"type": "integer", "minimum": 1}
_FLAG: Schema = {"type": "boolean"}
_ANY: Schema = {"type": "object"}
_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def _closed(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def _one_of(*values: str) -> Schema:
    return {"enum": list(values)}


_AUTOSCALER = _closed(
    resources=_ANY,
    image=_TEXT,
    imagePullPolicy=_TEXT,
    securityContext=_ANY,
    idleTimeoutSeconds=_COUNT,
    upscalingMode=_one_of("Default", "Aggressive", "Conservative"),
    version=_one_of("v1", "v2"),
    env={"type": "array"},
    envFrom={"type": "array"},
    volumeMounts={"type": "array"},
)
_HEAD = _closed(
    ("template",),
    template=_ANY,
    headService=_ANY,
    enableIngress=_FLAG,
    resources=_TEXTS,
    labels=_TEXTS,
    rayStartParams=_TEXTS,
    serviceType=_one_of("ClusterIP", "NodePort", "LoadBalancer"),
)
_WORKERS = _closed(
    ("groupName", "template", "minReplicas", "maxReplicas"),
    suspend=_FLAG,
    groupName=_TEXT,
    replicas=_COUNT,
    minReplicas=_COUNT,
    maxReplicas=_COUNT,
    idleTimeoutSeconds=_COUNT,
    resources=_TEXTS,
    labels=_TEXTS,
    rayStartParams=_TEXTS,
    template=_ANY,
    scaleStrategy=_closed(workersToDelete={"type": "array", "items": _TEXT}),
    numOfHosts=_SECONDS,
)
RAY_CLUSTER_SPEC = _closed(
    ("headGroupSpec", "rayVersion"),
    upgradeStrategy=_closed(type=_one_of("Recreate", "None")),
    authOptions=_closed(enableK8sTokenAuth=_FLAG, secretName=_TEXT, mode=_one_of("disabled", "token")),
    suspend=_FLAG,
    managedBy=_TEXT,
    autoscalerOptions=_AUTOSCALER,
    headServiceAnnotations=_TEXTS,
    enableInTreeAutoscaling=_FLAG,
    gcsFaultToleranceOptions=_closed(
        redisUsername=_ANY, redisPassword=_ANY, externalStorageNamespace=_TEXT, redisAddress=_TEXT
    ),
    headGroupSpec=_HEAD,
    rayVersion=_TEXT,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
)
RAY_JOB_SPEC = _closed(
    ("entrypoint",),
    activeDeadlineSeconds=_SECONDS,
    backoffLimit=_COUNT,
    rayClusterSpec=RAY_CLUSTER_SPEC,
    submitterPodTemplate=_ANY,
    metadata=_TEXTS,
    clusterSelector=_TEXTS,
    submitterConfig=_closed(backoffLimit=_COUNT),
    managedBy=_TEXT,
    deletionStrategy=_ANY,
    entrypoint=_TEXT,
    runtimeEnvYAML=_TEXT,
    jobId=_TEXT,
    submissionMode=_one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=_TEXT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    ttlSecondsAfterFinished=_COUNT,
    preRunningDeadlineSeconds=_SECONDS,
    shutdownAfterJobFinishes=_FLAG,
    suspend=_FLAG,
)


def of(kind: str) -> Schema:
    """The schema of a whole RayCluster or RayJob."""
    spec = {"RayCluster": RAY_CLUSTER_SPEC, "RayJob": RAY_JOB_SPEC}[kind]
    return _closed(
        ("apiVersion", "kind", "metadata", "spec"),
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_closed(("name",), name=_TEXT, namespace=_TEXT, labels=_TEXTS, annotations=_TEXTS),
        spec=spec,
    )

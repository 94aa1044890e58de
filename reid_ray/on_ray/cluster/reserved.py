"""Say what each kind of method holds of the cluster while it runs, so that its cost can be told.

In: settings, cluster. Out: CPUs and GPUs.
"""

from reid_ray.config.tune import Scaling
from reid_ray.on_ray.cluster.session import Cluster
from reid_ray.on_ray.training.tuning import gpus_per_worker


def reserved(scaling: Scaling, cluster: Cluster) -> dict[str, dict[str, float]]:
    """CPUs and GPUs of one method of each kind: `encoder`, `matching`, `trial`, `confirmation`."""
    gpus = gpus_per_worker(scaling, cluster)

    def workers(count: int) -> dict[str, float]:
        return {"cpus": float(count * scaling.cpus_per_worker), "gpus": count * gpus}

    return {
        "encoder": {"cpus": 1.0, "gpus": gpus},
        "matching": {"cpus": float(scaling.matching_actors or cluster.cpus), "gpus": 0.0},
        "trial": workers(max(scaling.workers, 1)),
        "confirmation": workers(scaling.confirmation_workers),
    }

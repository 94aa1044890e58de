"""What methods hold of a cluster, by hand."""

from reid_ray.config.tune import Scaling
from reid_ray.on_ray.cluster.reserved import reserved
from reid_ray.on_ray.cluster.session import Cluster


def test_ddp_trials_hold_all_their_workers() -> None:
    cluster = Cluster(cpus=32, gpus=8, nodes=2, embedded=False)
    held = reserved(Scaling(workers=4, cpus_per_worker=3, confirmation_workers=2), cluster)
    assert held["trial"] == {"cpus": 12.0, "gpus": 4.0}
    assert held["confirmation"] == {"cpus": 6.0, "gpus": 2.0}
    assert held["matching"] == {"cpus": 32.0, "gpus": 0.0}
    alone = reserved(Scaling(), Cluster(cpus=2, gpus=0, nodes=1, embedded=True))
    assert alone["trial"] == {"cpus": 1.0, "gpus": 0.0}

"""One Ray for all tests of this folder."""

from collections.abc import Iterator

import pytest
from small_study import Done, run, study_of

from reid_ray.on_ray.cluster.session import Cluster, cluster


@pytest.fixture(scope="session")
def running_ray() -> Iterator[Cluster]:
    with cluster() as resources:
        yield resources


@pytest.fixture(scope="session")
def done(running_ray: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """A finished study; tests that spoil it mend it again."""
    folder = tmp_path_factory.mktemp("study")
    study = study_of(folder)
    return Done(study, run(study)[0], folder)

"""Find near duplicates among many photos as tasks, each kept, so that a later start finds them done.

In: prepared photos. Out: pairs (query, other). The driver holds half a kilobyte a photo.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import ray
from numpy.typing import NDArray

from reid_ray.datasets.prepared import MappedFile, PreparedImages
from reid_ray.methods.scorer import Arrays
from reid_ray.on_ray.actors.pool import Pool, starting
from reid_ray.on_ray.actors.resumable import finish
from reid_ray.progress import Display
from reid_ray.splits.near_duplicates import Known, Looks, find_near_duplicates, looks_of, repeated

HERE = 4000
"""Up to so many photos, starting workers would take longer than the work."""
AT_ONCE = 2048
"""Photos of one task."""

Positions = NDArray[np.int64]
Pairs = list[tuple[int, int]]


class LooksRequest(NamedTuple):
    """Take the looks of some photos."""

    positions: Positions

    def run(self, images: PreparedImages) -> Arrays:
        return looks_of(images, self.positions)._asdict()


class RepeatedRequest(NamedTuple):
    """Find those of some queries that repeat a known photo: `places` int64 [m, 2] among both."""

    positions: Positions
    looks: Looks

    def run(self, images: PreparedImages, known: Known) -> Arrays:
        pairs = np.array(repeated(images, self.positions, self.looks, known), np.int64).reshape(-1, 2)
        both = (self.positions, np.sort(known.positions))
        return {"places": np.stack([np.searchsorted(of, pairs[:, at]) for at, of in enumerate(both)], axis=1)}


def near_duplicates(
    images: PreparedImages, queries: Positions, others: Positions, *, folder: Path, display: Display
) -> Pairs:
    """As `find_near_duplicates`; many photos by workers, whose results are kept in `folder`.

    Args:
        queries, others: ascending positions.

    Raises:
        ResourceError: memory ran out, or no worker could start.
    """
    photos = len(queries) + len(others)
    mapped = all(isinstance(part, MappedFile) for part in images.parts)
    if not len(queries) or not len(others) or photos <= HERE or not mapped:
        return find_near_duplicates(images, queries, others)
    cpus = int(ray.cluster_resources().get("CPU", 1))
    with (
        display.phase("near duplicates", photos + len(queries), "photos") as phase,
        Pool(cpus, starting(), kind="near-duplicate", setting="the number of CPUs that Ray is given") as pool,
    ):
        return _Search(images, folder, pool, phase.at).pairs(queries, others)


class _Search:
    """A search under way."""

    def __init__(self, images: PreparedImages, folder: Path, pool: Pool, told: Callable[[int], None]) -> None:
        self.images, self.folder, self.pool, self.told = images, folder, pool, told
        self.shared = ray.put(images)
        self.done = 0

    def pairs(self, queries: Positions, others: Positions) -> Pairs:
        looks_q, known = self.looks(queries), Known.of(others, self.looks(others))
        key = self.named(others)
        requests: dict[str, RepeatedRequest] = {}
        for at in range(0, len(queries), AT_ONCE):
            part = queries[at : at + AT_ONCE]
            looks = looks_q.take(np.arange(at, at + len(part)))
            requests[f"pairs-{key}-{self.named(part)}"] = RepeatedRequest(part, looks)
        found: Pairs = []
        for name, arrays, _ in finish(self.pool, requests, self.folder, self.shared, ray.put(known)):
            part = requests[name].positions
            found += [(int(part[query]), int(others[other])) for query, other in arrays["places"]]
            self.ended(len(part))
        return sorted(found)

    def looks(self, positions: Positions) -> Looks:
        parts = [positions[at : at + AT_ONCE] for at in range(0, len(positions), AT_ONCE)]
        names = [f"looks-{self.named(part)}" for part in parts]
        requests = {name: LooksRequest(part) for name, part in zip(names, parts, strict=True)}
        found: dict[str, Looks] = {}
        for name, arrays, _ in finish(self.pool, requests, self.folder, self.shared):
            found[name] = Looks(**arrays)
            self.ended(len(requests[name].positions))
        return Looks.concat([found[name] for name in names])

    def ended(self, photos: int) -> None:
        self.done += photos
        self.told(self.done)

    def named(self, positions: Positions) -> str:
        """Equal for the same photos: a file of pixels is never written again under its name."""
        digest = hashlib.sha256()
        for at in positions.tolist():
            digest.update(f"{self.images.parts[self.images.part[at]]} {self.images.starts[at]}\n".encode())
        return digest.hexdigest()[:20]

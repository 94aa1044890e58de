"""Where the work of a method is done: in this process, or spread over a cluster.

A method cuts its work into requests. A request is a small object with a method `run`; what is large
(features, galleries) is shared once and handed to it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.encoding import Encoding
from reid_ray.matching.features import Features

Positions = NDArray[np.int64]


class Request(Protocol):
    """A piece of work; it is sent to whatever process does it, and may be done again elsewhere."""

    def run(self, *shared: Any) -> Any: ...


class Bench(Protocol):
    """What a method needs of its surroundings."""

    def features(self, positions: Positions, config: Matching) -> Features:
        """Local features of these rows' photos, from the store where they were made before."""
        ...

    def vectors(self, encoding: Encoding, positions: Positions) -> NDArray[np.float32]:
        """Embeddings float32 [n, d] of these rows' photos, from the store where they were made before."""
        ...

    def photo(self, position: int) -> NDArray[np.uint8]:
        """The prepared photo of a row."""
        ...

    def share(self, value: Any) -> Any:
        """Something that `run` hands to requests as `value`."""
        ...

    def run(
        self, requests: Mapping[str, Request], *shared: Any, folder: Path | None = None
    ) -> Iterator[tuple[str, Any, bool]]:
        """(name, result, made now) of each request, in any order.

        Args:
            folder: results, which are then maps of arrays, are kept there and found again; None: not.
        """
        ...

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        """Say in a few words what goes on, and how far it is."""
        ...


def answers(
    bench: Bench,
    asked: Positions,
    size: int,
    request: Callable[[Positions], Request],
    *shared: Any,
    name: str = "",
    told: str = "",
    folder: Path | None = None,
) -> list[Any]:
    """Results of requests about `asked`, `size` photos each, in their order.

    Args:
        name: of the work, by which `folder` keeps it.
        told: what is said of it, with how far it is.
    """
    requests = {f"{name}{at:08d}": request(asked[at : at + size]) for at in range(0, len(asked), size)}
    ended = {}
    for which, found, _ in bench.run(requests, *shared, folder=folder):
        ended[which] = found
        if told:
            bench.tell(told, min(len(asked), len(ended) * size), len(asked))
    return [ended[which] for which in requests]


@dataclass(frozen=True)
class InProcess:
    """A bench of this process alone, for a served model, a training that answers, and tests.

    Attributes:
        images: photo i belongs to row i.
        store: folder of features and vectors.
        device: where networks run, "cpu" or "cuda".
    """

    images: PreparedImages
    store: Path
    device: str = "cpu"

    def features(self, positions: Positions, config: Matching) -> Features:
        from reid_ray.matching.extract import resized
        from reid_ray.matching.store import load_or_extract

        photos = [resized(self.images[int(at)], config.short_px) for at in positions]
        return load_or_extract(self.store / "features", photos, config.extractor)

    def vectors(self, encoding: Encoding, positions: Positions) -> NDArray[np.float32]:
        return encoding.build(self.store / "vectors", self.device).vectors(self.images, positions)

    def photo(self, position: int) -> NDArray[np.uint8]:
        return self.images[position]

    def share(self, value: Any) -> Any:
        return value

    def run(
        self, requests: Mapping[str, Request], *shared: Any, folder: Path | None = None
    ) -> Iterator[tuple[str, Any, bool]]:
        for name, request in requests.items():
            yield name, request.run(*shared), True

    def tell(self, text: str, done: int = 0, total: int = 0) -> None:
        pass

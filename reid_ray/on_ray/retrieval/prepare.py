"""What a worker does to prepare photos: local features and vectors. In: positions. Out: features, or where
vectors are.
"""

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import Materials
from reid_ray.embedding.encoding import Encoding
from reid_ray.errors import ReidError, WeightsError
from reid_ray.runs.methods import Status

if TYPE_CHECKING:
    from reid_ray.embedding.loaded import Model

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class FeaturesRequest:
    """`Features` of some photos, kept in `store`."""

    positions: Positions
    config: Matching
    store: Path

    def run(self, materials: Materials) -> Any:
        from reid_ray.matching.extract import resized
        from reid_ray.matching.store import load_or_extract

        images = [resized(materials.images[int(at)], self.config.short_px) for at in self.positions]
        return load_or_extract(self.store, images, self.config.extractor)


@dataclass(frozen=True)
class Embedded:
    """How embedding some photos ended.

    Attributes:
        note: on the model, or why it failed.
        vectors: folder of the model's vectors.
    """

    seconds: float
    status: Status
    note: str
    vectors: Path | None = None


@dataclass(frozen=True)
class EmbedRequest:
    """See that the vectors of some photos are in the store."""

    encoding: Encoding
    positions: Positions
    store: Path

    def run(self, materials: Materials) -> Embedded:
        # A worker that matches never comes here, and starts the sooner without networks.
        from reid_ray.studies.trial import OUT_OF_MEMORY, out_of_memory

        began = time.monotonic()
        try:
            model = loaded(self.encoding, self.store)
            model.add(materials.images, self.positions)
        except WeightsError as error:
            return Embedded(time.monotonic() - began, "not_run", str(error))
        except ReidError as error:
            return Embedded(time.monotonic() - began, "failed", str(error))
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            return Embedded(time.monotonic() - began, "out_of_memory", OUT_OF_MEMORY)
        return Embedded(time.monotonic() - began, "finished", model.note, model.store.folder)


@lru_cache(maxsize=1)  # a worker keeps its model from one request to the next
def loaded(encoding: Encoding, store: Path) -> "Model":
    """The model on this worker's device."""
    from reid_ray.on_ray.cluster.device import own_device

    return encoding.build(store, own_device().type)

"""What decides a model's vectors: where its weights are, and how it prepares photos.

In: settings. Out: the model, once it is asked for: libraries of networks take seconds to load, and most
processes that hear of a model never run it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reid_ray.config.models import Three

if TYPE_CHECKING:
    import torch

    from reid_ray.embedding.loaded import Model


@dataclass(frozen=True)
class Encoding:
    """All that decides a model's vectors.

    Attributes:
        model, weights, input_px: as `backbones.build` takes them.
        seed: of random weights.
        checkpoint: folder of trained weights that take the place of these; "": none.
        mean, std, interpolation: in place of the weights' own, where given.
        source: a sentence on where the weights are, in place of the backbone's.
        licence: of the weights.
    """

    model: str
    weights: str
    input_px: int
    seed: int = 0
    checkpoint: str = ""
    mean: Three | None = None
    std: Three | None = None
    interpolation: str | None = None
    source: str = ""
    licence: str = ""

    def build(self, store: Path, device: "torch.device | str") -> "Model":
        """The model on a device.

        Args:
            store: folder of all models' vectors.

        Raises:
            WeightsError, ConfigError, StorageError: it cannot be had.
        """
        from reid_ray.embedding.loaded import load

        return load(self, store, device)

"""A model as it comes with its own preparation of photos and its vectors on disk.

In: where its weights are, positions of prepared photos. Out: float32 [n, d].
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.config.models import Three
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import backbones
from reid_ray.embedding.embed import embed, precision
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.vectors import VectorStore, encoder_key, photo_keys


@dataclass(frozen=True)
class Model:
    """An encoder on a device, and the store of what it has embedded.

    Attributes:
        name: of the caller's choice.
        note: a sentence for the reader: weights, preparation, licence.
    """

    name: str
    encoder: Encoder
    px: int
    interpolation: str
    device: torch.device
    store: VectorStore
    note: str

    @classmethod
    def build(
        cls,
        name: str,
        architecture: str,
        *,
        weights: str,
        px: int,
        seed: int,
        mean: Three | None = None,
        std: Three | None = None,
        interpolation: str | None = None,
        store: Path,
        device: torch.device,
        about: str = "",
        licence: str = "",
    ) -> "Model":
        """Build it as `backbones.build` does.

        Args:
            seed: of random weights.
            mean, std, interpolation: in place of the weights' own.
            store: folder of all models' vectors.
            about: a sentence on the weights, in place of the backbone's.

        Raises:
            WeightsError, ConfigError: it cannot be had.
        """
        torch.manual_seed(seed)
        backbone = backbones.build(architecture, weights=weights, input_px=px)
        backbone = replace(backbone, mean=mean or backbone.mean, std=std or backbone.std)
        method = interpolation or backbone.interpolation
        encoder = Encoder(backbone).eval()
        key = encoder_key(encoder, px=px, interpolation=method, precision=precision(device))
        parts = [about or backbone.weights, f"photos squashed to {px} px, {method}"]
        if licence:
            parts.append(f"licence of the weights: {licence}")
        vectors = VectorStore(store / key)
        return cls(name, encoder.to(device), px, method, device, vectors, "; ".join(parts))

    def add(self, images: PreparedImages, positions: NDArray[np.int64]) -> None:
        """Embed those photos that are not in the store yet."""
        keys = photo_keys(images, positions)
        places = self.store.missing(keys)
        if places:
            vectors_nd = embed(
                self.encoder,
                images,
                positions[places],
                px=self.px,
                device=self.device,
                interpolation=self.interpolation,
            )
            self.store.add([keys[place] for place in places], vectors_nd)

    def vectors(self, images: PreparedImages, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """From the store, float32 [n, d]; what is not there, or was damaged meanwhile, is made."""
        keys = photo_keys(images, positions)
        found = self.store.read(keys)
        if found is None:
            self.add(images, positions)
            found = self.store.read(keys)
        if found is None:
            raise RuntimeError(f"{self.store.folder}: vectors cannot be read back")
        return found

"""A model with its own preparation of photos and its vectors on disk.

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
from reid_ray.embedding.checkpoint import load_encoder
from reid_ray.embedding.embed import embed
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.precision import of_device
from reid_ray.embedding.vectors import VectorStore, encoder_key, photo_keys


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
        torch.manual_seed(self.seed)
        backbone = backbones.build(self.model, weights=self.weights, input_px=self.input_px)
        backbone = replace(backbone, mean=self.mean or backbone.mean, std=self.std or backbone.std)
        method = self.interpolation or backbone.interpolation
        encoder = Encoder(backbone).eval()
        if self.checkpoint:
            load_encoder(Path(self.checkpoint), encoder)
            encoder.eval()
            # As it was trained: resized bilinearly, whatever the first weights wanted.
            method = self.interpolation or "bilinear"
        where = torch.device(device)
        key = encoder_key(encoder, px=self.input_px, interpolation=method, precision=of_device(where))
        parts = [self.source or backbone.weights, f"photos resized to {self.input_px} px, {method}"]
        if self.licence:
            parts.append(f"licence of the weights: {self.licence}")
        vectors = VectorStore(store / key)
        return Model(encoder.to(where), backbone, self.input_px, method, where, vectors, "; ".join(parts))


@dataclass(frozen=True)
class Model:
    """An encoder on a device, and the store of what it has embedded.

    Attributes:
        backbone: what the encoder was made of.
        note: a sentence for the reader: weights, preparation, licence.
    """

    encoder: Encoder
    backbone: backbones.Backbone
    px: int
    interpolation: str
    device: torch.device
    store: VectorStore
    note: str

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

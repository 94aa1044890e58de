"""A model on a device, with its own preparation of photos and its vectors on disk.

In: an `Encoding`, positions of prepared photos. Out: float32 [n, d].
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import backbones
from reid_ray.embedding.checkpoint import load_encoder
from reid_ray.embedding.embed import embed
from reid_ray.embedding.encoding import Encoding
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.precision import of_device
from reid_ray.embedding.vectors import VectorStore, encoder_key, photo_keys


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


def load(encoding: Encoding, store: Path, device: torch.device | str) -> Model:
    """See `Encoding.build`."""
    torch.manual_seed(encoding.seed)
    backbone = backbones.build(encoding.model, weights=encoding.weights, input_px=encoding.input_px)
    backbone = replace(backbone, mean=encoding.mean or backbone.mean, std=encoding.std or backbone.std)
    method = encoding.interpolation or backbone.interpolation
    encoder = Encoder(backbone).eval()
    if encoding.checkpoint:
        load_encoder(Path(encoding.checkpoint), encoder)
        encoder.eval()
        # As it was trained: resized bilinearly, whatever the first weights wanted.
        method = encoding.interpolation or "bilinear"
    where = torch.device(device)
    key = encoder_key(encoder, px=encoding.input_px, interpolation=method, precision=of_device(where))
    parts = [encoding.source or backbone.weights, f"photos resized to {encoding.input_px} px, {method}"]
    if encoding.licence:
        parts.append(f"licence of the weights: {encoding.licence}")
    vectors = VectorStore(store / key)
    return Model(encoder.to(where), backbone, encoding.input_px, method, where, vectors, "; ".join(parts))

"""Turn photos into unit vectors.

In: an encoder and positions of prepared photos. Out: float32 [n, d].
"""

import numpy as np
import torch
from numpy.typing import NDArray

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.augment import squash
from reid_ray.embedding.model import Encoder


def embed(
    encoder: Encoder,
    images: PreparedImages,
    positions: NDArray[np.int64],
    *,
    px: int,
    device: torch.device,
    batch_size: int = 64,
) -> NDArray[np.float32]:
    """Vectors of `positions` in their order, evaluated without augmentation."""
    encoder.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(positions), batch_size):
            photos = squash(images, positions[start : start + batch_size].tolist(), px=px)
            parts.append(encoder.embed(photos.to(device)).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)

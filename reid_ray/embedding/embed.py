"""Turn photos into unit vectors.

In: an encoder and positions of prepared photos. Out: float32 [n, d].
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.augment import resize_whole
from reid_ray.embedding.context import Worker
from reid_ray.embedding.feeding import ahead
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.precision import of_device

_BATCH_PIXELS = 64 * 224 * 224


def batch_size(px: int) -> int:
    """Photos at a time: 64 of 224 px, 12 of 518 px."""
    return max(1, round(_BATCH_PIXELS / px**2))


def embed(
    encoder: Encoder,
    images: PreparedImages,
    positions: NDArray[np.int64],
    *,
    px: int,
    device: torch.device,
    interpolation: str = "bilinear",
    threads: int = 1,
) -> NDArray[np.float32]:
    """Vectors of `positions` in their order, evaluated without augmentation.

    A batch that does not fit the GPU's memory is halved, until single photos do not fit.

    Args:
        threads: that cut the next photos while these are embedded.
    """
    encoder.eval()
    size = batch_size(px)
    spans = [positions[start : start + size].tolist() for start in range(0, len(positions), size)]
    cut = resize_whole if interpolation == "bilinear" else _resize_bicubic
    parts = []
    with torch.inference_mode():
        for photos in ahead(lambda number: cut(images, spans[number], px=px), len(spans), threads=threads):
            with torch.autocast(device.type, torch.bfloat16, enabled=of_device(device) == "bf16"):
                parts.append(_embed(encoder, photos, device))
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _embed(encoder: Encoder, photos: Tensor, device: torch.device) -> NDArray[np.float32]:
    try:
        vectors: NDArray[np.float32] = encoder.embed(photos.to(device)).float().cpu().numpy()
        return vectors
    except torch.OutOfMemoryError:
        if len(photos) == 1:
            raise
    torch.cuda.empty_cache()
    half = len(photos) // 2
    return np.concatenate([_embed(encoder, part, device) for part in (photos[:half], photos[half:])])


def embed_shared(
    encoder: Encoder, images: PreparedImages, positions: NDArray[np.int64], *, px: int, worker: Worker
) -> NDArray[np.float32] | None:
    """As `embed`, called on every rank, each of which does its share; None but on rank 0.

    Shares are whole batches as a single process would make them: batches of another size would give vectors
    that differ in their last bits.
    """
    batch = np.arange(len(positions)) // batch_size(px)
    shares = [np.flatnonzero(batch % worker.world == rank) for rank in range(worker.world)]
    mine = shares[worker.rank]
    if not len(mine):  # says how long a vector is
        mine = np.arange(min(1, len(positions)))
    threads = max(1, worker.cutters)
    vectors = embed(encoder, images, positions[mine], px=px, device=worker.device, threads=threads)
    parts = worker.rows(vectors, [len(share) for share in shares])
    if worker.rank:
        return None
    return np.concatenate(parts)[np.argsort(np.concatenate(shares))]


def _resize_bicubic(images: PreparedImages, positions: Sequence[int], *, px: int) -> Tensor:
    """As `resize_whole`, bicubic with antialiasing; uint8 [n, 3, px, px]."""
    photos = [torch.from_numpy(images[position].copy()).permute(2, 0, 1) for position in positions]
    sized = [interpolate(photo[None], (px, px), mode="bicubic", antialias=True) for photo in photos]
    return torch.cat(sized)

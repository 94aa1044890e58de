"""Match photos with LoFTR (Sun et al. 2021), kornia's network and the user's own weights.

LoFTR has no keypoints: it looks at both photos at once and matches cells of 8 x 8 pixels. So a photo's
"features" are its own grey pixels, a descriptor of 64 bytes per cell: they are kept, shared and masked as all
other features are, and the pair is put together again where it is matched.

In: features of photos. Out: pairs of cells that it accepts.
"""

import functools
from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import torch
from kornia.feature import LoFTR as Network
from kornia.feature.loftr.loftr import default_cfg
from numpy.typing import NDArray

from reid_ray.config.matching import LoFTR
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.weights import fill, read_weights

SOURCE = "LoFTR's outdoor weights (loftr_outdoor.ckpt, as kornia has it, or outdoor_ds.ckpt of zju3dv/LoFTR)"
CELL = 8
_TRAINING = "matcher."
"""The authors' file names the network so."""


def extract(images: Iterable[NDArray[np.uint8]]) -> Features:
    """Grey cells of RGB images [H, W, 3], row by row; what is missing to a whole cell repeats the border."""
    return Features.pack(_cells(image) for image in images)


def _cells(image: NDArray[np.uint8]) -> ImageFeatures:
    height, width = image.shape[:2]
    grey = np.pad(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), ((0, -height % CELL), (0, -width % CELL)), mode="edge"
    )
    rows, columns = (side // CELL for side in grey.shape)
    cells = grey.reshape(rows, CELL, columns, CELL).transpose(0, 2, 1, 3).reshape(-1, CELL * CELL)
    y, x = np.divmod(np.arange(rows * columns), columns)
    middles = (np.stack([x, y], axis=1) + 0.5) * CELL
    zeros = np.zeros(len(cells), np.float32)
    return ImageFeatures(
        np.ascontiguousarray(cells), middles.astype(np.float32), zeros, zeros, (width, height)
    )


def picture(features: ImageFeatures) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The grey photo [H, W], black where cells were left out, and which keypoint each cell is, int64 [cells];
    -1 where it was.
    """
    width, height = features.size_px
    columns, rows = -(-width // CELL), -(-height // CELL)
    x, y = (features.points_xy // CELL).astype(np.int64).T
    cells = np.zeros((rows * columns, CELL * CELL), np.uint8)
    cells[y * columns + x] = features.descriptors
    number = np.full(rows * columns, -1, np.int64)
    number[y * columns + x] = np.arange(len(features))
    grey = cells.reshape(rows, columns, CELL, CELL).transpose(0, 2, 1, 3).reshape(rows * CELL, -1)
    return grey[:height, :width], number


@functools.lru_cache(maxsize=1)
def load(weights: str) -> Network:
    """The network, ready to use, on a GPU where there is one; a process keeps it.

    Raises:
        WeightsError: missing, unreadable, or not the weights of this network.
    """
    net = Network(None, config=default_cfg)
    read = read_weights(weights, of=SOURCE, name="loftr")
    found = {name.removeprefix(_TRAINING): value for name, value in read.items()}
    fill(net, found, path=weights, of=SOURCE, computed=("num_batches_tracked",))
    net.coarse_matching.thr = 0.0  # the least score is applied below
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


@torch.inference_mode()
def match_pairs(
    query: ImageFeatures, references: Sequence[ImageFeatures], config: LoFTR
) -> list[NDArray[np.int64]]:
    """Matches of one photo with each of others: rows (query, reference cell), int64 [m, 2] each."""
    net = load(config.weights)
    grey_q, number_q = picture(query)
    own, found = net.extract_features(_as_input(grey_q, net)), []
    for reference in references:
        grey_r, number_r = picture(reference)
        seen = net({"features0": own, "features1": net.extract_features(_as_input(grey_r, net))})
        sure = seen["confidence"] > config.least_score
        pairs = np.stack(
            [
                number[_cell_of(seen[name][sure].float().cpu().numpy(), grey)]
                for name, number, grey in (("keypoints0", number_q, grey_q), ("keypoints1", number_r, grey_r))
            ],
            axis=1,
        )
        found.append(pairs[(pairs >= 0).all(axis=1)])
    return found


def _as_input(grey: NDArray[np.uint8], net: Network) -> torch.Tensor:
    values = torch.from_numpy(np.ascontiguousarray(grey)).float() / 255
    return values[None, None].to(next(net.parameters()).device)


def _cell_of(points_xy: NDArray[np.float32], grey: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The cell of each point: the network has the first at 0, and moves a point by half a cell at most."""
    rows, columns = (-(-side // CELL) for side in grey.shape)
    x, y = np.rint(points_xy / CELL).astype(np.int64).T
    return np.asarray(np.clip(y, 0, rows - 1) * columns + np.clip(x, 0, columns - 1))

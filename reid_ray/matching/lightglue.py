"""Match two photos with LightGlue (Lindenberger et al. 2023), kornia's network and the user's own
weights. In: features of two images. Out: pairs of keypoints that it accepts.
"""

import functools
from typing import Any

import numpy as np
import torch
from kornia.feature import LightGlue as Network
from numpy.typing import NDArray
from torch import Tensor

from reid_ray.config.matching import LightGlue
from reid_ray.matching.features import ImageFeatures
from reid_ray.matching.weights import fill, read_weights

SOURCE = "LightGlue's weights for {kind} features (cvg/LightGlue, releases, {kind}_lightglue.pth)"

_NETWORKS: dict[str, dict[str, Any]] = {
    "superpoint": {"input_dim": 256},
    "disk": {"input_dim": 128},
    "aliked": {"input_dim": 128},
    "xfeat": {  # LighterGlue
        "input_dim": 64,
        "descriptor_dim": 96,
        "n_layers": 6,
        "num_heads": 1,
        "depth_confidence": -1,
        "width_confidence": 0.95,
    },
}
"""How the published networks differ, by the features they are for."""
_MATCHER, _EXTRACTOR = "matcher.", "extractor."
"""LighterGlue's file holds the extractor, too."""
_LAYERS = 9
_UNUSED = r"log_assignment\.\d+\.r"
"""Single numbers that the published file for DISK kept from its training."""


@functools.lru_cache(maxsize=2)
def load(weights: str, kind: str) -> Network:
    """The network for `kind` of features, ready to use; a process keeps it.

    Raises:
        WeightsError: missing, unreadable, or not the weights of this network.
    """
    source = SOURCE.format(kind=kind)
    # Without a name of features nothing is downloaded; the least score is applied below.
    net = Network(None, filter_threshold=0.0, **_NETWORKS[kind])
    read = read_weights(weights, of=source, name=f"{kind}-lightglue")
    found = {_current(name): value for name, value in read.items() if not name.startswith(_EXTRACTOR)}
    return fill(net, found, path=weights, of=source, computed=("confidence_thresholds",), unused=_UNUSED)


def _current(name: str) -> str:
    """Published files number self- and cross-attention apart, the network by layer."""
    name = name.removeprefix(_MATCHER)
    for layer in range(_LAYERS):
        for part in ("self_attn", "cross_attn"):
            if name.startswith(f"{part}.{layer}."):
                return f"transformers.{layer}.{name.replace(f'{part}.{layer}', part, 1)}"
    return name


@torch.inference_mode()
def match_pair(
    query: ImageFeatures, reference: ImageFeatures, config: LightGlue, kind: str
) -> NDArray[np.int64]:
    """Matches: rows (query, reference keypoint), int64 [m, 2]; none with under two keypoints."""
    if len(query) < 2 or len(reference) < 2:
        return np.zeros((0, 2), np.int64)
    net = load(config.weights, kind)
    found = net({"image0": _side(query), "image1": _side(reference)})
    sure = found["scores"][0] > config.least_score
    return np.asarray(found["matches"][0][sure].numpy(), np.int64)


def _side(image: ImageFeatures) -> dict[str, Tensor]:
    return {
        "keypoints": torch.from_numpy(np.array(image.points_xy))[None],
        "descriptors": torch.from_numpy(np.array(image.descriptors, np.float32))[None],
        "image_size": torch.tensor([image.size_px]),
    }

"""Match photos with LightGlue (Lindenberger et al. 2023), kornia's network and the user's own weights.

In: features of photos. Out: pairs of keypoints that it accepts.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from kornia.feature import LightGlue as Network
from kornia.feature.lightglue import normalize_keypoints
from numpy.typing import NDArray

from reid_ray.config.matching import LightGlue
from reid_ray.matching.features import ImageFeatures
from reid_ray.matching.lightglue_batch import Keypoints, match
from reid_ray.matching.sift import ROOT_SCALE
from reid_ray.matching.weights import fill, read_weights

SOURCE = "LightGlue's weights for {kind} features (cvg/LightGlue, releases, {kind}_lightglue.pth)"

_NETWORKS: dict[str, dict[str, Any]] = {
    "superpoint": {"input_dim": 256},
    "disk": {"input_dim": 128},
    "aliked": {"input_dim": 128},
    "sift": {"input_dim": 128, "add_scale_ori": True},
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
_CELLS = {"cpu": 2**20, "cuda": 2**26}
"""Keypoints of one photo times those of the other, of all pairs that are matched at once: on a CPU one pair
of 1024 each, as larger products leave its caches."""


@functools.lru_cache(maxsize=2)
def load(weights: str, kind: str) -> Network:
    """The network for `kind` of features, ready to use, on a GPU where there is one; a process keeps it.

    Raises:
        WeightsError: missing, unreadable, or not the weights of this network.
    """
    source = SOURCE.format(kind=kind)
    # Without a name of features nothing is downloaded; the least score is applied below.
    net = Network(None, filter_threshold=0.0, **_NETWORKS[kind])
    read = read_weights(weights, of=source, name=f"{kind}-lightglue")
    found = {_current(name): value for name, value in read.items() if not name.startswith(_EXTRACTOR)}
    fill(net, found, path=weights, of=source, computed=("confidence_thresholds",), unused=_UNUSED)
    return net.to("cuda" if torch.cuda.is_available() else "cpu")


def _current(name: str) -> str:
    """Published files number self- and cross-attention apart, the network by layer."""
    name = name.removeprefix(_MATCHER)
    for layer in range(_LAYERS):
        for part in ("self_attn", "cross_attn"):
            if name.startswith(f"{part}.{layer}."):
                return f"transformers.{layer}.{name.replace(f'{part}.{layer}', part, 1)}"
    return name


def match_pairs(
    query: ImageFeatures, references: Sequence[ImageFeatures], config: LightGlue, kind: str
) -> list[NDArray[np.int64]]:
    """Matches of one photo with each of others: rows (query, reference keypoint), int64 [m, 2] each; none
    with under two keypoints.
    """
    net = load(config.weights, kind)
    found = [np.zeros((0, 2), np.int64) for _ in references]
    counts = np.array([len(one) for one in references])
    own = _side(query, net)
    for rows in _batches(len(query), counts, _CELLS[own.points.device.type]):
        for row, one in zip(
            rows, match(net, [(own, _side(references[row], net)) for row in rows]), strict=True
        ):
            found[row] = one.pairs[one.scores > config.least_score].cpu().numpy()
    return found


def _batches(query: int, counts: NDArray[np.int64], cells: int) -> Iterator[list[int]]:
    """References of about the same number of keypoints together, so that little is filled up."""
    batch: list[int] = []
    for row in np.argsort(-counts, kind="stable").tolist():
        if min(query, int(counts[row])) < 2:
            continue
        if batch and query * int(counts[batch[0]]) * (len(batch) + 1) > cells:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _side(image: ImageFeatures, net: Network) -> Keypoints:
    device = net.confidence_thresholds.device
    points = torch.from_numpy(np.array(image.points_xy, np.float32)).to(device)
    points = normalize_keypoints(points[None], torch.tensor([image.size_px], device=device))[0]
    if net.conf.add_scale_ori:
        more = np.stack([image.scales, image.angles], axis=1).astype(np.float32)
        points = torch.cat([points, torch.from_numpy(more).to(device)], dim=1)
    descriptors = np.array(image.descriptors, np.float32)
    if image.descriptors.dtype == np.uint8:  # RootSIFT as bytes
        descriptors /= ROOT_SCALE
    return Keypoints(torch.from_numpy(descriptors).to(device), points)

"""SuperPoint keypoints (DeTone et al. 2018, arXiv 1712.07629) from the user's own weights.

In: uint8 RGB images. Out: float descriptors of unit length, packed. One encoder feeds two heads:
65 scores per 8 x 8 cell (64 pixels and "nothing here") and a 256-number descriptor per cell.
"""

from collections.abc import Iterable
from typing import cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reid_ray.config.matching import SuperPoint
from reid_ray.matching.compiled import compiled
from reid_ray.matching.features import Features, ImageFeatures
from reid_ray.matching.superpoint_weights import LAYERS, load_weights

CELL_PX = 8


class SuperPointNet(nn.Module):
    """The published network: each layer is convolution, ReLU (not before an output), affine.

    The affine is the batch normalisation of the variant that has one, else the identity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        for name, (inputs, outputs, size) in LAYERS.items():
            self.convolutions[name] = nn.Conv2d(inputs, outputs, size, padding=size // 2)
            self.register_buffer(f"{name}_scale", torch.ones(outputs))
            self.register_buffer(f"{name}_shift", torch.zeros(outputs))

    def forward(self, grey: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of "a keypoint is here" [b, H', W'] and descriptors [b, 256, H'/8, W'/8].

        Args:
            grey: [b, 1, H, W] in 0..1; H' and W' are H and W cut to multiples of 8.
        """
        encoded = grey
        for stage in "1234":
            encoded = self._layer(f"conv{stage}b", self._layer(f"conv{stage}a", encoded))
            if stage != "4":
                encoded = nn.functional.max_pool2d(encoded, 2)
        cells = self._layer("convPb", self._layer("convPa", encoded), output=True).softmax(1)
        scores = nn.functional.pixel_shuffle(cells[:, :-1], CELL_PX)[:, 0]
        described = self._layer("convDb", self._layer("convDa", encoded), output=True)
        return scores, nn.functional.normalize(described, dim=1)

    def _layer(self, name: str, values: Tensor, *, output: bool = False) -> Tensor:
        values = cast(Tensor, self.convolutions[name](values))
        scale, shift = self.get_buffer(f"{name}_scale"), self.get_buffer(f"{name}_shift")
        values = values if output else values.relu()
        return values * scale[:, None, None] + shift[:, None, None]


def load(path: str) -> SuperPointNet:
    """The network with the weights of `path`, ready to use.

    Raises:
        WeightsError: missing, unreadable, or not the weights of this network.
    """
    net = SuperPointNet()
    net.load_state_dict(load_weights(path))
    return net.eval()


def extract(images: Iterable[NDArray[np.uint8]], config: SuperPoint) -> Features:
    """Features of RGB images [H, W, 3]; scales are 0, responses are the network's scores."""
    net = load(config.weights)
    return Features.pack(_extract_one(image, net, config) for image in images)


@torch.inference_mode()
def _extract_one(image: NDArray[np.uint8], net: SuperPointNet, config: SuperPoint) -> ImageFeatures:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    scores, described = net(torch.from_numpy(grey)[None, None])
    scores_hw = scores[0].numpy()
    points_xy = keypoints(
        scores_hw, threshold=config.threshold, radius=config.nms_px, border=config.border_px
    )
    return ImageFeatures(
        _sample(described[0], torch.from_numpy(points_xy)).numpy(),
        points_xy.astype(np.float32),
        np.zeros(len(points_xy), np.float32),
        scores_hw[points_xy[:, 1], points_xy[:, 0]],
        (grey.shape[1], grey.shape[0]),
    ).strongest(config.max_keypoints)


def keypoints(
    scores_hw: NDArray[np.float32], *, threshold: float, radius: int, border: int
) -> NDArray[np.int64]:
    """Pixels (x, y) that are kept, int64 [k, 2], strongest first.

    Greedy: the strongest candidate stays and silences all within `radius` in x and y, and so on;
    equal scores: upper, then left first. Points closer than `border` to an edge are dropped after
    that.
    """
    rows, columns = np.nonzero(scores_hw > threshold)
    order = np.argsort(-scores_hw[rows, columns], kind="stable")
    points_xy = np.stack([columns[order], rows[order]], axis=1).astype(np.int64)
    height, width = scores_hw.shape
    kept = points_xy[_silence(points_xy, height, width, radius)]
    x, y = kept[:, 0], kept[:, 1]
    inside = (x >= border) & (x < width - border) & (y >= border) & (y < height - border)
    return np.asarray(kept[inside])


@compiled()
def _silence(points_xy, height, width, radius):  # type: ignore[no-untyped-def]
    """Which of the points, strongest first, are not within `radius` of a stronger kept one."""
    silent = np.zeros((height + 2 * radius, width + 2 * radius), np.bool_)
    kept = np.zeros(len(points_xy), np.bool_)
    for index in range(len(points_xy)):
        x, y = points_xy[index]
        if silent[y + radius, x + radius]:
            continue
        kept[index] = True
        silent[y : y + 2 * radius + 1, x : x + 2 * radius + 1] = True
    return kept


def _sample(described: Tensor, points_xy: Tensor) -> Tensor:
    """Descriptors [k, 256] of unit length, bilinear between the centres of cells."""
    height, width = described.shape[1:]
    size = torch.tensor([width, height]) * CELL_PX
    grid = (points_xy + 0.5) / size * 2 - 1
    found = nn.functional.grid_sample(
        described[None], grid[None, None].float(), padding_mode="border", align_corners=False
    )
    return nn.functional.normalize(found[0, :, 0], dim=0).T.contiguous()

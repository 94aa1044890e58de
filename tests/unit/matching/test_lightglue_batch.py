"""Pairs in a batch get what kornia's class gives each of them alone, layers and points included."""

from typing import Any

import kornia.feature
import pytest
import torch

from reid_ray.matching.lightglue_batch import Keypoints, match

COUNTS = [(40, 25), (3, 60), (33, 33), (1, 7), (60, 60), (2, 2)]


def network(*, depth: float, width: float) -> Any:
    """Random weights; half of all points are surely seen, and half may match, so that much goes early."""
    torch.manual_seed(3)
    net = kornia.feature.LightGlue(
        None, input_dim=32, descriptor_dim=64, n_layers=5, depth_confidence=depth, width_confidence=width
    )
    for part in (*net.token_confidence, *net.log_assignment):
        torch.nn.init.normal_(
            (part.token[0] if hasattr(part, "token") else part.matchability).weight, std=0.2
        )
    net.confidence_thresholds[:] = 0.5
    net.conf.filter_threshold = 0.0
    return net.eval()


def pairs() -> list[tuple[Keypoints, Keypoints]]:
    torch.manual_seed(4)

    def side(count: int) -> Keypoints:
        return Keypoints(torch.randn(count, 32), torch.rand(count, 2) * 2 - 1)

    return [(side(one), side(two)) for one, two in COUNTS]


def alone(net: Any, pair: tuple[Keypoints, Keypoints]) -> dict[str, Any]:
    # Of a photo of 2 x 2 pixels, places from 0 to 2 are what is here -1 to 1.
    sides = [
        {
            "descriptors": one.descriptors[None],
            "keypoints": one.points[None] + 1,
            "image_size": torch.tensor([[2, 2]]),
        }
        for one in pair
    ]
    with torch.inference_mode():
        found: dict[str, Any] = net({"image0": sides[0], "image1": sides[1]})
    return found


@pytest.mark.parametrize(
    ("depth", "width"), [(-1, -1), (0.5, -1), (-1, 0.5), (0.52, 0.5), (-1, 0.3), (0.95, 0.99)]
)
def test_each_pair_is_matched_as_if_alone(depth: float, width: float) -> None:
    net = network(depth=depth, width=width)
    expected = [alone(net, pair) for pair in pairs()]
    found = match(net, pairs())
    for one, other in zip(found, expected, strict=True):
        assert one.pairs.tolist() == other["matches"][0].tolist()
        torch.testing.assert_close(one.scores, other["scores"][0])
    assert sum(len(one.pairs) for one in found) >= (0 if width == 0.3 else 5)
    if depth in (0.5, 0.52):
        assert len({one["stop"] for one in expected}) > 1
    if width == 0.3:
        assert any(not len(one.pairs) for one in found)
    if width == 0.5:
        assert any(int(one["prune0"].min()) < int(one["prune0"].max()) for one in expected)

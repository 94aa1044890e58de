"""SuperPoint: both published weight layouts, refusals, and keypoints by hand."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reid_ray.config.matching import SuperPoint
from reid_ray.errors import WeightsError
from reid_ray.matching import superpoint
from reid_ray.matching.extract import extract
from reid_ray.matching.superpoint_weights import LAYERS


def plain_state(seed: int = 0) -> dict[str, Tensor]:
    """Random weights under Magic Leap's names."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, (inputs, outputs, size) in LAYERS.items():
        spread = (2 / (inputs * size * size)) ** 0.5
        state[f"{name}.weight"] = torch.randn(outputs, inputs, size, size, generator=generator) * spread
        state[f"{name}.bias"] = torch.randn(outputs, generator=generator) * 0.1
    return state


class Normalised(nn.Module):
    """The MIT re-training's layout, as torch builds it: convolution, ReLU, batch normalisation."""

    def __init__(self) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, size: int, *, relu: bool = True) -> nn.Sequential:
            layers = nn.Sequential()
            layers.add_module("conv", nn.Conv2d(inputs, outputs, size, padding=size // 2))
            layers.add_module("activation", nn.ReLU() if relu else nn.Identity())
            layers.add_module("bn", nn.BatchNorm2d(outputs, eps=1e-3))
            return layers

        widths = [1, 64, 64, 128, 128]
        stages = [
            nn.Sequential(block(a, b, 3), block(b, b, 3), *[nn.MaxPool2d(2)] * (i < 3))
            for i, (a, b) in enumerate(pairwise(widths))
        ]
        self.backbone = nn.Sequential(*stages)
        self.detector = nn.Sequential(block(128, 256, 3), block(256, 65, 1, relu=False))
        self.descriptor = nn.Sequential(block(128, 256, 3), block(256, 256, 1, relu=False))


def test_the_normalised_layout_computes_what_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = Normalised()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    torch.save(theirs.eval().state_dict(), tmp_path / "w.pth")
    grey = torch.rand(1, 1, 40, 51)
    with torch.inference_mode():
        scores, described = superpoint.load(str(tmp_path / "w.pth"))(grey)
        encoded = theirs.backbone(grey)
        cells = theirs.detector(encoded).softmax(1)[0]
        expected = nn.functional.normalize(theirs.descriptor(encoded), dim=1)
    assert scores.shape == (1, 40, 48)
    for y, x in [(0, 0), (9, 3), (39, 47)]:
        torch.testing.assert_close(scores[0, y, x], cells[y % 8 * 8 + x % 8, y // 8, x // 8])
    torch.testing.assert_close(described, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_features_come_from_either_kind_of_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": plain_state()}, path)
    else:
        save_file(plain_state(), path)
    image = np.random.default_rng(0).integers(0, 256, (70, 91, 3), dtype=np.uint8)
    found = extract([image, image], SuperPoint(kind="superpoint", weights=str(path), max_keypoints=30))
    assert found.keypoints.tolist() == [30, 30]
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.image(0).descriptors, found.image(1).descriptors)
    assert found.points_xy.min() >= 4
    assert found.points_xy[:, 0].max() < 88 - 4
    assert found.points_xy[:, 1].max() < 64 - 4


def test_a_descriptor_at_a_cells_centre_is_that_cells() -> None:
    described = nn.functional.normalize(torch.randn(256, 4, 5), dim=0)
    between = superpoint._sample(described, torch.tensor([[19.5, 11.5], [23.5, 11.5], [0.0, 0.0]]))
    torch.testing.assert_close(between[0], described[:, 1, 2], rtol=1e-4, atol=1e-5)
    mean = nn.functional.normalize(described[:, 1, 2] + described[:, 1, 3], dim=0)
    torch.testing.assert_close(between[1], mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(between[2], described[:, 0, 0], rtol=1e-4, atol=1e-5)


def test_a_keypoint_silences_weaker_ones_within_its_radius_but_not_beyond() -> None:
    scores = np.zeros((20, 30), np.float32)
    scores[10, 10], scores[10, 12], scores[12, 14], scores[10, 17] = 0.9, 0.8, 0.7, 0.6
    scores[2, 20] = 0.5  # too close to the border
    scores[15, 25] = 0.004  # too weak
    found = superpoint.keypoints(scores, threshold=0.005, radius=2, border=4)
    # (12, 10) falls to (10, 10), so it does not silence (14, 12); (17, 10) is 3 away from that.
    assert found.tolist() == [[10, 10], [14, 12], [17, 10]]


def test_of_equal_neighbours_the_upper_left_one_stays() -> None:
    scores = np.zeros((20, 20), np.float32)
    scores[8:11, 8:11] = 0.5
    assert superpoint.keypoints(scores, threshold=0.005, radius=4, border=4).tolist() == [[8, 8]]


def test_wrong_weights_are_refused_with_what_was_found(tmp_path: Path) -> None:
    def refused(state: dict[str, Tensor] | bytes | None, words: str) -> None:
        path = tmp_path / "w.safetensors"
        path.unlink(missing_ok=True)
        if isinstance(state, bytes):
            path.write_bytes(state)
        elif state is not None:
            save_file(state, path)
        with pytest.raises(WeightsError, match=words):
            superpoint.load(str(path))

    refused(None, "no such weights file")
    refused(b"not weights at all", "cannot be read as weights")
    refused({"layer1.weight": torch.zeros(3)}, "no tensor 'conv1a.weight' .*layer1.weight")
    refused({**plain_state(), "convDb.weight": torch.zeros(128, 256, 1, 1)}, r"\(128, 256, 1, 1\)")
    refused({**plain_state(), "conv2a.bias": torch.full((64,), torch.nan)}, "not finite")


def test_a_pickle_that_would_run_code_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("executed",)

    torch.save({"conv1a.weight": Harmful()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        superpoint.load(str(tmp_path / "w.pth"))

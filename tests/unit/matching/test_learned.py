"""DISK, ALIKED and LightGlue: what kornia's own classes give on the same weights, and refusals."""

from pathlib import Path
from typing import Any

import kornia.feature
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn

from reid_ray.config.matching import Aliked, Disk, Extractor, LightGlue, Matching, SuperPoint
from reid_ray.errors import ConfigError, WeightsError
from reid_ray.matching import learned, lightglue
from reid_ray.matching.extract import check_weights, extract
from reid_ray.matching.features import ImageFeatures
from reid_ray.matching.store import load_or_extract


def seeded(make: Any) -> nn.Module:
    """A network with random weights, in use."""
    torch.manual_seed(0)
    net: nn.Module = make().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.1)
    return net


def photos() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for h, w in [(70, 91), (64, 48)]]


def as_input(image: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255


def test_disk_gives_what_kornia_gives(tmp_path: Path) -> None:
    theirs = seeded(kornia.feature.DISK)
    # As published: the network's tensors under `extractor`.
    torch.save({"extractor": theirs.state_dict(), "disc": {}}, tmp_path / "d.pth")
    config = Disk(kind="disk", weights=str(tmp_path / "d.pth"), nms_px=3, threshold=0.1)
    found = extract(photos(), config)
    for index, image in enumerate(photos()):
        with torch.inference_mode():
            (expected,) = theirs(
                as_input(image), window_size=7, score_threshold=0.1, pad_if_not_divisible=True
            )
        assert expected.n > 5
        own = found.image(index)
        np.testing.assert_array_equal(own.points_xy, expected.keypoints)
        np.testing.assert_array_equal(own.descriptors, expected.descriptors)
        np.testing.assert_array_equal(own.responses, expected.detection_scores)
        assert own.size_px == (image.shape[1], image.shape[0])


@pytest.mark.parametrize("model", ["aliked-n16", "aliked-t16", "aliked-n32"])
def test_aliked_gives_what_kornia_gives(tmp_path: Path, model: Any) -> None:
    theirs = seeded(lambda: kornia.feature.ALIKED(model, detection_threshold=0.3, nms_radius=3))
    state = {k: v for k, v in theirs.state_dict().items() if k != "dkd.hw_grid"}
    save_file(state, tmp_path / "a.safetensors")
    config = Aliked(
        kind="aliked", weights=str(tmp_path / "a.safetensors"), model=model, threshold=0.3, nms_px=3
    )
    found = extract(photos(), config)
    for index, image in enumerate(photos()):
        with torch.inference_mode():
            (expected,) = theirs(as_input(image))
        assert expected.n > 5
        own = found.image(index)
        np.testing.assert_array_equal(own.points_xy, expected.keypoints)
        np.testing.assert_array_equal(own.descriptors, expected.descriptors)
        np.testing.assert_array_equal(own.responses, expected.keypoint_scores)


def test_other_weights_make_other_features_and_the_same_are_read_from_disk(tmp_path: Path) -> None:
    path, image = tmp_path / "d.safetensors", photos()[:1]
    config = Disk(kind="disk", weights=str(path), max_keypoints=9)
    first = seeded(kornia.feature.DISK)
    save_file(first.state_dict(), path)
    found = load_or_extract(tmp_path / "store", image, config)
    assert found.keypoints.tolist() == [9]
    moved = tmp_path / "moved.safetensors"
    path.rename(moved)
    again = load_or_extract(tmp_path / "store", image, config.model_copy(update={"weights": str(moved)}))
    np.testing.assert_array_equal(found.descriptors, again.descriptors)
    assert len(list((tmp_path / "store").glob("*.npz"))) == 1
    save_file({name: value + 0.01 for name, value in first.state_dict().items()}, path)
    other = load_or_extract(tmp_path / "store", image, config)
    assert len(list((tmp_path / "store").glob("*.npz"))) == 2
    assert not np.array_equal(found.descriptors, other.descriptors)


def pair_of(dims: int) -> tuple[ImageFeatures, ImageFeatures]:
    """40 points, and 50 of which the first 40 look almost the same."""
    rng = np.random.default_rng(1)

    def image(descriptors: NDArray[np.float64], size_px: tuple[int, int]) -> ImageFeatures:
        descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
        count = len(descriptors)
        points = rng.uniform(0, size_px, (count, 2)).astype(np.float32)
        scales, angles = (rng.uniform(0, most, count).astype(np.float32) for most in (9, 6.2))
        return ImageFeatures(descriptors.astype(np.float32), points, scales, scales, size_px, angles)

    base = rng.normal(size=(50, dims))
    return image(base[:40] + rng.normal(size=(40, dims)) * 0.05, (90, 60)), image(base, (80, 100))


@pytest.mark.parametrize(
    ("kind", "dims"), [("superpoint", 256), ("disk", 128), ("aliked", 128), ("sift", 128)]
)
def test_lightglue_accepts_what_kornias_does(tmp_path: Path, kind: str, dims: int) -> None:
    sift = kind == "sift"
    theirs: Any = seeded(lambda: kornia.feature.LightGlue(None, input_dim=dims, add_scale_ori=sift))
    # As published: attention is numbered apart from layers, derived buffers are left out.
    state = {}
    for name, value in theirs.state_dict().items():
        parts = name.split(".")
        if parts[0] == "transformers":
            name = ".".join([parts[2], parts[1], *parts[3:]])
        if name != "confidence_thresholds":
            state[name] = value.clone()
    assert "self_attn.3.Wqkv.weight" in state
    torch.save(state, tmp_path / "l.pth")
    query, reference = pair_of(dims)

    def side(image: ImageFeatures) -> dict[str, torch.Tensor]:
        return {
            "keypoints": torch.from_numpy(image.points_xy)[None],
            "descriptors": torch.from_numpy(image.descriptors)[None],
            "image_size": torch.tensor([image.size_px]),
            "scales": torch.from_numpy(image.scales)[None],
            "oris": torch.from_numpy(image.angles)[None],
        }

    both = {"image0": side(query), "image1": side(reference)}
    with torch.inference_mode():
        theirs.conf.filter_threshold = 0.0
        middle = float(theirs(both)["scores"][0].median())
        theirs.conf.filter_threshold = middle
        expected = theirs(both)["matches"][0]
    config = LightGlue(model="lightglue", weights=str(tmp_path / "l.pth"), least_score=middle)
    (found,) = lightglue.match_pairs(query, [reference], config, kind)
    assert 5 < len(found) < 40
    assert found.tolist() == expected.tolist()
    few = query.strongest(1)
    assert lightglue.match_pairs(few, [reference], config, kind)[0].shape == (0, 2)
    one, none, two = lightglue.match_pairs(query, [reference, few, reference], config, kind)
    assert one.tolist() == two.tolist() == expected.tolist()
    assert none.shape == (0, 2)


def test_wrong_weights_are_refused_before_any_work_with_what_is_needed(tmp_path: Path) -> None:
    def refused(extractor: Extractor, words: str, verify: LightGlue | None = None) -> None:
        with pytest.raises(WeightsError, match=words):
            check_weights(Matching(extractor=extractor, verify=verify))

    disk, aliked = tmp_path / "d.safetensors", tmp_path / "a.safetensors"
    save_file(seeded(kornia.feature.DISK).state_dict(), disk)
    save_file(seeded(lambda: kornia.feature.ALIKED("aliked-n16")).state_dict(), aliked)
    refused(Disk(kind="disk", weights=str(tmp_path / "no.pth")), "no such weights file.*depth-save")
    refused(Disk(kind="disk", weights=str(aliked)), "no tensor 'unet.path_down.*block1.*DISK's")
    refused(Aliked(kind="aliked", weights=str(disk)), "no tensor 'block1.*Shiaoming/ALIKED")
    refused(
        Aliked(kind="aliked", weights=str(aliked), model="aliked-n32"),
        r"'desc_head.*here \(.*another network.*same `model`",
    )
    superpoint_glue = kornia.feature.LightGlue(None, input_dim=256)
    save_file(superpoint_glue.state_dict(), tmp_path / "l.safetensors")
    look = LightGlue(model="lightglue", weights=str(tmp_path / "l.safetensors"))
    refused(Disk(kind="disk", weights=str(disk)), "no tensor 'input_proj.*disk_lightglue.pth", look)
    save_file(kornia.feature.LightGlue(None, input_dim=128).state_dict(), tmp_path / "l128.safetensors")
    with pytest.raises(WeightsError, match=r"2 tensors belong to no part .*input_proj.bias"):
        lightglue.load(str(tmp_path / "l128.safetensors"), "superpoint")
    state = seeded(kornia.feature.DISK).state_dict()
    state["unet.path_down.0.1.3.bias"].fill_(torch.nan)
    save_file(state, disk)
    refused(Disk(kind="disk", weights=str(disk)), "not finite; the file is damaged")


@pytest.mark.parametrize("most", [1, 2, 8])
def test_photos_of_one_size_are_taken_together_and_keep_their_order(
    most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(seeded(lambda: kornia.feature.ALIKED("aliked-t16")).state_dict(), tmp_path / "a.safetensors")
    config = Aliked(
        kind="aliked", weights=str(tmp_path / "a.safetensors"), model="aliked-t16", max_keypoints=30
    )
    one, two = photos()
    several = [one, two, one[::-1].copy(), two[:, ::-1].copy(), one[:, ::-1].copy()]
    monkeypatch.setattr(learned, "_AT_ONCE", {"cpu": most, "cuda": most})
    found = extract(several, config)
    for place, photo in enumerate(several):
        alone, own = extract([photo], config).image(0), found.image(place)
        assert own.size_px == (photo.shape[1], photo.shape[0])
        np.testing.assert_allclose(own.points_xy, alone.points_xy, atol=1e-3)
        np.testing.assert_allclose(own.descriptors, alone.descriptors, atol=1e-4)


def test_lightglue_is_refused_for_features_it_does_not_know() -> None:
    look = {"model": "lightglue", "weights": "l.pth"}
    with pytest.raises(ConfigError, match=r"cannot match plain SIFT features.*root: true"):
        Matching.parse({"verify": look}, where="test")
    Matching.parse({"verify": look, "extractor": {"kind": "sift", "root": True}}, where="test")
    several = {"extractor": {"kind": "disk", "weights": "d"}, "shortlist": {"by": "SIFT"}, "verify": look}
    several["alternatives"] = [{"kind": "disk", "weights": "d", "nms_px": 3}]
    with pytest.raises(ConfigError, match="alternatives are compared by what is scored before"):
        Matching.parse(several, where="test")
    Matching.parse(several | {"verify": look | {"candidates": 5}}, where="test")
    small = {"kind": "aliked", "weights": "a", "model": "aliked-t16"}
    with pytest.raises(ConfigError, match="cannot match aliked-t16 features"):
        Matching.parse({"extractor": small, "verify": look}, where="test")
    with pytest.raises(ConfigError, match=r"verify\.lightglue\.weights: required"):
        Matching.parse({"verify": {"model": "lightglue"}}, where="test")
    with pytest.raises(ConfigError, match=r"verify\.geometry\.model: .*affine"):
        Matching.parse({"verify": {"model": "magic"}}, where="test")
    known = Matching.parse(
        {"extractor": {"kind": "superpoint", "weights": "s"}, "verify": look}, where="test"
    )
    assert known.verify == LightGlue(model="lightglue", weights="l.pth")
    assert isinstance(known.extractor, SuperPoint)

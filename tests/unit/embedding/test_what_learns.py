"""Parts of a pretrained backbone learn, or none at first."""

from pathlib import Path

import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from tiny_training import photos, trial
from torch import Tensor

from reid_ray.config.training import Trial
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import Trained, train
from reid_ray.errors import ConfigError

NAME = "test_resnet"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    file = tmp_path / "net.safetensors"
    save_file(timm.create_model(NAME, num_classes=0).state_dict(), file)
    return file


def trained(setting: Trial, weights: object) -> Trained:
    return train(setting, photos(), Worker(), weights=str(weights), report=lambda _: None)


def changed(done: Trained) -> set[str]:
    """Names of what is not as `published` made it."""
    torch.manual_seed(0)
    before: dict[str, Tensor] = timm.create_model(NAME, num_classes=0).state_dict()
    after = done.model.encoder.backbone.state_dict()
    return {name for name, value in before.items() if not torch.equal(after[name], value)}


def test_only_what_the_pattern_names_learns(published: Path) -> None:
    done = trained(trial(backbone=NAME, learn=r"layer4", batch_norm="kept"), published)
    parameters = {name for name, _ in timm.create_model(NAME, num_classes=0).named_parameters()}
    assert changed(done) == {name for name in parameters if name.startswith("layer4.")}


def test_while_the_backbone_is_frozen_only_class_centres_learn(published: Path) -> None:
    settings = [trial(backbone=NAME, frozen_epochs=2, epochs=epochs) for epochs in (2, 3)]
    frozen, thawed = (trained(setting, published) for setting in settings)
    assert not changed(frozen)
    assert "conv1.0.weight" in changed(thawed)
    torch.manual_seed(settings[0].seed)
    # With a rate of nothing, centres are those that training starts from.
    start = trained(settings[0].model_copy(update={"lr": 1e-30}), published)
    centres = [one.model.head.loss.W for one in (start, frozen)]  # type: ignore[union-attr]
    assert not torch.equal(*centres)


def test_class_centres_learn_as_by_hand_on_frozen_features(published: Path) -> None:
    """One batch, one step: SGD's first step is the rate times the gradient."""
    data = photos(2, 4)
    settings = [
        trial(backbone=NAME, frozen_epochs=1, epochs=1, lr=lr, augment={"crop_scale_min": 1.0, "ops": 0})
        for lr in (1e-30, 0.05)
    ]
    start, stepped = (
        train(one, data, Worker(), weights=str(published), report=lambda _: None).model for one in settings
    )
    size = settings[0].input_px
    pixels = torch.stack(
        [
            torch.nn.functional.interpolate(
                torch.tensor(data.images[i]).permute(2, 0, 1)[None].float(),
                (size, size),
                mode="bilinear",
                antialias=True,
            )[0]
            for i in range(8)
        ]
    )
    with torch.no_grad():
        features = start.encoder(pixels)
    start.head.zero_grad()
    start.head(features, torch.from_numpy(data.labels)).backward()
    weights = start.head.loss.W  # type: ignore[union-attr]
    expected, found = -0.05 * weights.grad, stepped.head.loss.W - weights  # type: ignore[union-attr]
    # Crops have other shapes than the photos, so pixels differ a little.
    alike = torch.nn.functional.cosine_similarity(expected.ravel(), found.ravel(), dim=0)
    assert float(alike) > 0.98
    assert 0.9 < float(found.norm() / expected.norm()) < 1.1


def test_what_cannot_be_is_refused(published: Path) -> None:
    with pytest.raises(ConfigError, match="no parameter of test_resnet"):
        trained(trial(backbone=NAME, learn="head_of_another"), published)
    with pytest.raises(ValidationError, match="not a regular expression"):
        trial(backbone=NAME, learn="(")
    with pytest.raises(ConfigError, match="frozen_epochs needs pretrained weights"):
        trained(trial(backbone=NAME, frozen_epochs=1), "random")
    with pytest.raises(ConfigError, match="learn needs pretrained weights"):
        trained(trial(backbone=NAME, learn="layer4"), "random")

"""An exported model is loaded by timm alone, and gives the same features."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from tiny_training import ARCFACE, photos, trial

from reid_ray.config.training import Trial
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.augment import resize_whole
from reid_ray.embedding.context import Worker
from reid_ray.embedding.export import CARD, WEIGHTS, export
from reid_ray.embedding.loop import Trained, train
from reid_ray.embedding.validation import Validation
from reid_ray.errors import StorageError
from reid_ray.runs.methods import Result

RESULT = Result(
    key="0" * 16,
    method="tiny ArcFace",
    kind="trial",
    family="ArcFace",
    scope="zebra",
    metrics={"seen/top1": 0.421, "seen/top1_low": 0.3, "seen/top1_high": 0.5, "seen/queries": 31.0},
    note="random weights",
)


def trained(setting: Trial, folder: Path) -> Trained:
    return train(setting, photos(), Worker(), weights="random", report=lambda _: None, folder=folder)


def exported(setting: Trial, folder: Path) -> Trained:
    done = trained(setting, folder / "checkpoint")
    export(
        folder / "model",
        trial=setting,
        weights="random",
        trained=folder / "checkpoint",
        result=RESULT,
        data=["zebra: 16 reference photos of 4 animals"],
    )
    return done


# One with BatchNorm, one whose position tables depend on the input's size.
@pytest.mark.parametrize(
    ("backbone", "px"), [("test_resnet", 32), ("test_vit", 96), ("swin_tiny_patch4_window7_224", 64)]
)
def test_timm_alone_loads_the_same_embeddings(backbone: str, px: int, tmp_path: Path) -> None:
    done = exported(trial(backbone=backbone, input_px=px, epochs=1, lr=0.001), tmp_path)
    alone = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(alone)
    images = resize_whole(photos().images, range(6), px=px)
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    with torch.inference_mode():
        theirs = torch.nn.functional.normalize(alone.eval()((images / 255 - mean) / std))
        ours = done.model.encoder.embed(images)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)


def test_timms_own_transform_prepares_photos_as_we_do(tmp_path: Path) -> None:
    done = exported(trial(backbone="test_resnet", input_px=48, epochs=1), tmp_path)
    alone = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=0)
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(alone))
    wide = np.concatenate([photos().images[number] for number in (0, 5, 10)], axis=1)
    theirs = prepare(Image.fromarray(wide))[None]
    pixels = resize_whole(PreparedImages.pack([wide]), [0], px=48)
    ours = (pixels - done.model.encoder.mean) / done.model.encoder.std
    assert float((theirs - ours).abs().max()) < 2 / 255 / 0.224  # Pillow rounds otherwise


def test_an_exported_model_can_be_trained_on(tmp_path: Path) -> None:
    setting = trial(backbone="test_resnet", epochs=1)
    exported(setting, tmp_path)
    done = train(setting, photos(), Worker(), weights=str(tmp_path / "model"), report=lambda _: None)
    assert done.epoch == 1


def test_the_best_weights_are_exported_where_they_were_chosen(tmp_path: Path) -> None:
    given = iter([0.9, 0.1])
    setting = trial(ARCFACE, backbone="test_resnet", select="best")
    train(
        setting,
        photos(),
        Worker(),
        weights="random",
        report=lambda _: None,
        validation=Validation(lambda _: {"val/top1": next(given)}),
        folder=tmp_path / "checkpoint",
    )
    export(
        tmp_path / "model",
        trial=setting,
        weights="random",
        trained=tmp_path / "checkpoint",
        result=RESULT,
        data=[],
    )
    alone = timm.create_model(f"local-dir:{tmp_path / 'model'}", pretrained=True, num_classes=0)
    one_epoch: list[torch.Tensor] = []

    def look(encoder: torch.nn.Module) -> dict[str, float]:
        one_epoch.append(next(encoder.parameters()).detach().clone())
        return {}

    train(setting, photos(), Worker(), weights="random", report=lambda _: None, validation=Validation(look))
    assert torch.equal(next(alone.parameters()), one_epoch[0])
    assert not torch.equal(one_epoch[0], one_epoch[1])


def test_the_model_card_says_what_a_user_must_know(tmp_path: Path) -> None:
    exported(trial(backbone="test_resnet", epochs=1), tmp_path)
    card = (tmp_path / "model" / CARD).read_text(encoding="utf-8")
    assert "zebra: 16 reference photos of 4 animals" in card
    assert "| seen | 42.1 | 30.0 | 50.0 |" in card
    assert "Started from: random weights." in card
    for heading in ("## Loading", "## Training", "## Licence", "margin_rad"):
        assert heading in card


def test_nothing_is_exported_from_a_damaged_checkpoint(tmp_path: Path) -> None:
    setting = trial(backbone="test_resnet", epochs=1)
    trained(setting, tmp_path / "checkpoint")
    (path,) = (tmp_path / "checkpoint").glob("*-model.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match="damaged"):
        export(
            tmp_path / "model",
            trial=setting,
            weights="random",
            trained=tmp_path / "checkpoint",
            result=RESULT,
            data=[],
        )
    assert not (tmp_path / "model" / WEIGHTS).exists()

"""The gradients of one batch do not depend on how it is spread over processes and parts."""

import gradients as case
import pytest
import torch
from gradients import CASES, DTYPES, LOSSES, Gradients, gradients, of_two_processes
from tiny_training import TRIPLET, photos, trial

from reid_ray.embedding.backbones import build
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import train
from reid_ray.embedding.model import ReidModel
from reid_ray.embedding.step import backward

TOLERANCE = {"fp32": 1e-5, "fp64": 1e-12}


def assert_same(found: Gradients, expected: Gradients, tolerance: float) -> None:
    """Equal relative to each tensor's largest gradient."""
    assert found.keys() == expected.keys()
    assert sum(float(grad.abs().sum()) for grad in expected.values()) > 0
    largest = max(float(grad.abs().max()) for name, grad in expected.items() if name != "loss")
    for name, grad in expected.items():
        size = float(grad.abs()) if name == "loss" else largest
        assert float((found[name] - grad).abs().max()) <= tolerance * size, name


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], list[Gradients]]:
    return of_two_processes(tmp_path_factory.mktemp("ranks"))


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "dtype", "accumulation"), CASES)
def test_two_workers_have_the_gradients_of_one_with_the_whole_batch(
    of_two: dict[tuple[str, str, int], list[Gradients]], loss: str, dtype: str, accumulation: int
) -> None:
    whole = gradients(loss, dtype, 1, Worker())
    for part in of_two[loss, dtype, accumulation]:
        assert_same(part, whole, TOLERANCE[dtype])


@pytest.mark.parametrize("accumulation", [2, 4, 8, 16])
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("loss", list(LOSSES))
def test_accumulated_parts_have_the_gradients_of_the_whole_batch(
    loss: str, dtype: str, accumulation: int
) -> None:
    whole = gradients(loss, dtype, 1, Worker())
    assert_same(gradients(loss, dtype, accumulation, Worker()), whole, TOLERANCE[dtype])


@pytest.mark.parametrize("loss", list(LOSSES))
def test_summed_parts_have_the_added_gradients_of_batches_of_their_own(loss: str) -> None:
    setting = trial(LOSSES[loss], accumulation=2, accumulate="sum")
    images, labels = case.batch()
    order = torch.arange(case.BATCH).reshape(4, 2, 2).transpose(0, 1).reshape(-1)  # half of each animal's
    images, labels = images[order], labels[order]
    model = case.model(setting, "fp64")
    found_loss = backward(setting, Worker(), model, images, labels, wrapped=model)
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    alone = case.model(setting, "fp64")
    losses = [alone.head(alone.encoder(images[s : s + 8]), labels[s : s + 8]) for s in (0, 8)]
    expected = {name: torch.zeros_like(parameter) for name, parameter in alone.named_parameters()}
    for value in losses:
        for name, grad in zip(expected, torch.autograd.grad(value, list(alone.parameters())), strict=True):
            expected[name] += grad
    mean = torch.stack(losses).mean().detach()
    assert_same(found | {"loss": found_loss}, expected | {"loss": mean}, 1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("loss", ["all", "semi"])
def test_drop_path_draws_the_same_when_a_part_is_embedded_again(loss: str) -> None:
    found = gradients(loss, "fp64", 2, Worker(), drop_path=0.5)
    model = case.model(trial(LOSSES[loss]), "fp64", drop_path=0.5)
    images, labels = case.batch()
    torch.manual_seed(2)
    features = torch.cat([model.encoder(images[:8]), model.encoder(images[8:])])
    value = model.head(features, labels)
    value.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert_same(found, expected | {"loss": value.detach()}, 1e-12)  # type: ignore[arg-type]


def test_running_statistics_count_each_photo_once_however_often_it_is_embedded() -> None:
    def statistics(accumulation: int) -> dict[str, torch.Tensor]:
        setting = trial(TRIPLET, backbone="test_resnet", accumulation=accumulation)
        torch.manual_seed(0)
        backbone = build(setting.backbone, weights="random", input_px=32)
        model = ReidModel(setting, backbone, classes=4).train()
        images, labels = case.batch()
        if accumulation == 1:  # as two plain batches
            model.encoder(images[:8])
            model.encoder(images[8:])
        else:
            backward(setting, Worker(), model, images, labels, wrapped=model)
        return dict(model.named_buffers())

    for name, expected in statistics(1).items():
        torch.testing.assert_close(statistics(2)[name], expected, msg=name)


@pytest.mark.slow
def test_two_epochs_with_accumulation_end_with_the_weights_of_whole_batches() -> None:
    def weights(accumulation: int) -> dict[str, torch.Tensor]:
        done = train(
            trial(TRIPLET, accumulation=accumulation, lr=0.01),
            photos(),
            Worker(),
            weights="random",
            report=lambda _: None,
        )
        return done.model.state_dict()

    for name, expected in weights(1).items():
        torch.testing.assert_close(weights(4)[name], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("loss", list(LOSSES))
def test_the_loss_itself_is_computed_in_full_precision_under_bf16(loss: str) -> None:
    model = case.model(trial(LOSSES[loss]), "fp32")
    images, labels = case.batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model(images)
        found = model(images, labels)
    assert features.dtype == torch.float32
    assert float(found) == float(model.head(features, labels))

"""What only a card can show, with its figures printed: `uv run pytest -n 0 -s -m gpu tests/gpu`.

`REID_RAY_GPU_TESTS_ON=cpu` runs what a CPU can do of it, to see that the tests themselves work.
"""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from reid_ray.config.training import ArcFace, Trial, Triplet
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import calibration, checkpoint
from reid_ray.embedding.backbones import build
from reid_ray.embedding.calibration import Way, calibrated
from reid_ray.embedding.context import Worker
from reid_ray.embedding.loop import TrainSet, train
from reid_ray.embedding.memory import estimate
from reid_ray.embedding.model import ReidModel
from reid_ray.embedding.step import backward
from reid_ray.embedding.validation import Row
from reid_ray.runs import files

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
ON_CPU = os.environ.get("REID_RAY_GPU_TESTS_ON") == "cpu"
SMALL = ("efficientnet_b0", 64)
BACKBONES = [SMALL] if ON_CPU else [("efficientnet_b3", 224), ("swin_base_patch4_window7_224", 224)]
LOSSES = [
    ArcFace(name="arcface", margin_rad=0.5, scale=64.0),
    Triplet(name="triplet", mining="all", margin=0.2),
]
BATCH, CLASSES = 16, 4


@pytest.fixture
def device() -> Iterator[torch.device]:
    if ON_CPU:
        yield torch.device("cpu")
        return
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}")
    yield torch.device("cuda", 0)
    torch.cuda.empty_cache()


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def trial(backbone: str, px: int, **changes: Any) -> Trial:
    settings: dict[str, Any] = {
        "backbone": backbone,
        "loss": LOSSES[0],
        "lr": 0.01,
        "weights": "random",
        "input_px": px,
        "epochs": 2,
        "batch_size": BATCH,
        "precision": "fp32",
    }
    return Trial(**(settings | changes))


def batch(px: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Photos of noise: nothing tells animals apart, so that every triplet has a loss."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (BATCH, 3, px, px), generator=draw, dtype=torch.uint8)
    return noise.to(device), (torch.arange(BATCH) % CLASSES).to(device)


def gradients(one: Trial, device: torch.device) -> tuple[float, Tensor]:
    """Loss and all gradients of one step in a row."""
    torch.manual_seed(0)
    model = ReidModel(one, build(one.backbone, weights="random", input_px=one.input_px), classes=CLASSES)
    model.to(device).eval()  # without drop-path, which would draw anew
    loss = backward(one, Worker(device=device), model, *batch(one.input_px, device), wrapped=model)
    each = [p.grad.flatten().float() for p in model.parameters() if p.grad is not None]
    return float(loss), torch.cat(each).cpu()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize(("backbone", "px"), BACKBONES)
def test_bf16_gives_nearly_the_loss_and_gradients_of_fp32(backbone, px, loss, device) -> None:
    exact, expected = gradients(trial(backbone, px, loss=loss), device)
    found, rough = gradients(trial(backbone, px, loss=loss, precision="bf16"), device)
    alike = float(torch.nn.functional.cosine_similarity(expected, rough, dim=0))
    print(f"{backbone} {loss.name}: loss {exact:.4f} and {found:.4f}, cosine of gradients {alike:.4f}")
    # bf16 keeps 8 bits; ArcFace's scale of 64 makes of a hundredth in a cosine half a unit of loss.
    assert found == pytest.approx(exact, rel=0.05, abs=0.05)
    assert alike > 0.9


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@pytest.mark.parametrize(("backbone", "px"), BACKBONES)
def test_parts_of_a_batch_give_the_gradients_of_the_whole(backbone, px, loss, device) -> None:
    _, expected = gradients(trial(backbone, px, loss=loss), device)
    _, found = gradients(trial(backbone, px, loss=loss, accumulation=4), device)
    error = float((found - expected).norm() / expected.norm())
    print(f"{backbone} {loss.name}: relative error of gradients {error:.2e}")
    assert error < 1e-2


@pytest.mark.parametrize(("backbone", "px"), BACKBONES)
def test_no_way_of_computing_is_faster_than_the_one_that_is_taken(backbone, px, device) -> None:
    if device.type != "cuda":
        pytest.skip("a CPU computes as configured")
    one = trial(backbone, px, precision="auto")
    model = ReidModel(one, build(backbone, weights="random", input_px=px), classes=CLASSES).to(device)
    worker = Worker(device=device)
    taken = calibrated(one, worker, model, photos=BATCH, steps=10**6)
    ways = [Way(last, compiled) for last in (False, True) for compiled in (False, True)]
    took = {way: calibration._seconds(one, worker, model, way, BATCH) for way in ways}
    print(f"{backbone}: {taken}; " + ", ".join(f"{way}: {1e3 * s:.1f} ms" for way, s in took.items()))
    assert took[taken] < 1.1 * min(took.values())


def photos(count: int, px: int) -> TrainSet:
    draw = np.random.default_rng(0)
    images = PreparedImages.pack(draw.integers(0, 256, (px, px, 3), np.uint8) for _ in range(count))
    return TrainSet(images, np.arange(count), np.arange(count) % CLASSES)


def _rank(rank: int, world: int, port: int, one: Trial, told: Any, folder: Path | None, killed: bool) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    device = torch.device("cpu") if ON_CPU else torch.device("cuda", rank)
    dist.init_process_group("gloo" if ON_CPU else "nccl", rank=rank, world_size=world)
    rows: list[Row] = []

    def report(row: Row) -> None:
        rows.append(row)
        while killed and folder is not None:
            if (folder / checkpoint.MANIFEST).is_file():
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.01)

    worker = Worker.of_process_group(device)
    train(one, photos(64, one.input_px), worker, weights="random", report=report, folder=folder)
    if rank == 0:
        told.put([(row["epoch"], row["loss"]) for row in rows])
    dist.destroy_process_group()


def losses(
    ranks: int, port: int, one: Trial, folder: Path | None = None, *, killed: bool = False
) -> list[tuple[int, float]]:
    """(epoch, loss) of a training by so many processes; none where they are killed after an epoch."""
    context = mp.get_context("spawn")
    told = context.SimpleQueue()
    given = (port, one, told, folder, killed)
    processes = [context.Process(target=_rank, args=(rank, ranks, *given)) for rank in range(ranks)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [-signal.SIGKILL if killed else 0] * ranks
    return [] if killed else told.get()


def enough_cards(ranks: int) -> None:
    if not ON_CPU and torch.cuda.device_count() < ranks:
        pytest.skip(f"{torch.cuda.device_count()} CUDA device(s)")


def test_two_cards_train_as_one_on_equal_global_batches(device, port) -> None:
    enough_cards(2)
    one = trial(*BACKBONES[0], lr=0.001)
    alone, both = losses(1, port, one), losses(2, port, one)
    print(f"epochs and losses of one {alone}, of two {both}")
    assert [loss for _, loss in both] == pytest.approx([loss for _, loss in alone], rel=2e-2)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 1), (1, 2)])
def test_a_killed_training_goes_on_with_another_number_of_cards(
    before, after, device, port, tmp_path
) -> None:
    enough_cards(max(before, after))
    one = trial(*BACKBONES[0], lr=0.001, epochs=3, checkpoint_every_s=0)
    whole = losses(1, port, one)
    losses(before, port, one, tmp_path, killed=True)
    assert files.read_json(tmp_path / checkpoint.MANIFEST)["epoch"] == 1
    rest = losses(after, port, one, tmp_path)
    print(f"epochs and losses of one {whole}; killed with {before}, and gone on with {after}: {rest}")
    assert [epoch for epoch, _ in rest] == [2, 3]
    assert [loss for _, loss in rest] == pytest.approx([loss for _, loss in whole[1:]], rel=2e-2)


@pytest.mark.parametrize(("backbone", "px"), BACKBONES)
def test_memory_in_use_is_what_was_estimated(backbone, px, device) -> None:
    if device.type != "cuda":
        pytest.skip("a CPU does not say what was used at most")
    one = trial(backbone, px, batch_size=64, epochs=1)
    torch.cuda.reset_peak_memory_stats()
    train(one, photos(128, px), Worker(device=device), weights="random", report=lambda row: None)
    used = torch.cuda.max_memory_allocated()
    need = estimate(one)
    ratio = used / (need.state + need.activations)
    print(f"{backbone}: {used / 2**30:.2f} GiB in use at most, {ratio:.2f} of the estimate")
    assert 0.6 < ratio < 1.4


def test_a_card_that_is_too_small_says_so_and_serves_the_next_training(device) -> None:
    if device.type != "cuda":
        pytest.skip("memory of a card")
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        large = trial(*BACKBONES[-1], batch_size=64)
        with pytest.raises(torch.OutOfMemoryError):
            train(large, photos(64, 224), Worker(device=device), weights="random", report=lambda row: None)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    rows: list[Row] = []
    train(trial(*SMALL), photos(32, 64), Worker(device=device), weights="random", report=rows.append)
    assert len(rows) == 2


@pytest.mark.parametrize(("backbone", "px"), BACKBONES)
def test_the_card_does_not_wait_for_photos(backbone, px, device) -> None:
    rows: list[Row] = []
    worker = Worker(device=device, cpus=min(8, os.cpu_count() or 1))
    one = trial(backbone, px, precision="auto", batch_size=32, epochs=3)
    train(one, photos(256 if device.type == "cuda" else 64, px), worker, weights="random", report=rows.append)
    print(f"{backbone}: share of time spent waiting {[round(row['input_wait'], 3) for row in rows]}")
    assert len(rows) == 3

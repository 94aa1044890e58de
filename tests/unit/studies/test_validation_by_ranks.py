"""A training's validation figure is the same whoever embeds the photos."""

import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import spawn

from reid_ray.config.training import ArcFace, Trial
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding import context, loop
from reid_ray.embedding import embed as embedding
from reid_ray.embedding.backbones import build
from reid_ray.embedding.context import Worker
from reid_ray.embedding.embed import embed, embed_shared
from reid_ray.embedding.model import Encoder
from reid_ray.runs.methods import MethodFolder
from reid_ray.studies import trial as module
from reid_ray.studies.trial import Plan

PX, AT_ONCE = 32, 4
COUNTS = (1, 4, 5, 9, 13, 24)
"""Of photos: one rank is without any, the last batch is short, ranks have one batch more than others."""
TRIAL = Trial(
    backbone="test_convnext2",
    loss=ArcFace(name="arcface", margin_rad=0.2, scale=8),
    lr=0.1,
    input_px=PX,
    weights="random",
)


def photos() -> PreparedImages:
    rng = np.random.default_rng(0)
    return PreparedImages.pack(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8) for _ in range(24))


def rows() -> pd.DataFrame:
    """Two collections of 15 and 9 photos, of each of which every third validates."""
    number = np.arange(24)
    return pd.DataFrame(
        {
            "key": [f"photo {n}" for n in number],
            "dataset": np.where(number < 15, "zebra", "giraffe"),
            "identity": [f"animal {n}" for n in number % 2],
            "split": "reference",
            "validation": number % 3 == 2,
            "domain": "seen",
        }
    )


def found(worker: Worker, folder: Path) -> dict[str, Any]:
    """What a rank has: vectors by their number, the validation figures, and how many photos were counted."""
    torch.manual_seed(0)
    encoder = Encoder(build(TRIAL.backbone, weights="random", input_px=PX))
    images = photos()
    vectors = {
        count: embed_shared(encoder, images, np.arange(count)[::-1].copy(), px=PX, worker=worker)
        for count in COUNTS
    }
    told: dict[str, Any] = {"vectors": vectors}

    class Stop(Exception):
        pass

    def train(*_: Any, validation: Any, **__: Any) -> None:
        told.update(figures=validation.figures(encoder), photos=validation.photos, rungs=validation.rungs)
        raise Stop

    plan = Plan("0" * 16, "trial", TRIAL, ("zebra", "giraffe"), "random", "", 5, rungs=frozenset({3}))
    train_, loop.train = loop.train, train  # type: ignore[assignment]
    try:
        module._train(plan, rows(), images, worker, MethodFolder(folder), lambda _: None)
    except Stop:
        return told
    finally:
        loop.train = train_
    raise AssertionError("nothing was trained")


def small_pieces() -> None:
    """So that few photos are several batches, and several pieces on their way to rank 0."""
    torch.set_num_threads(1)
    embedding._BATCH_PIXELS = AT_ONCE * PX**2
    context._ROWS = 3


def rank(number: int, world: int, port: int, folder: str) -> None:
    small_pieces()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    dist.init_process_group("gloo", rank=number, world_size=world)
    worker = Worker.of_process_group(torch.device("cpu"))
    torch.save(found(worker, Path(folder)), Path(folder) / f"{number}.pt")
    dist.destroy_process_group()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(embedding, "_BATCH_PIXELS", embedding._BATCH_PIXELS)
    monkeypatch.setattr(context, "_ROWS", context._ROWS)
    small_pieces()
    return found(Worker(), tmp_path)


def by_hand(encoder: Encoder) -> float:
    """Share of the validation photos whose most alike photo to learn from shows the same animal."""
    table, right = rows(), []
    vectors = embed(encoder, photos(), np.arange(24), px=PX, device=torch.device("cpu"))
    for _, part in table.groupby("dataset"):
        asked, learnt = part.index[part["validation"]], part.index[~part["validation"]]
        nearest = learnt[np.argmax(vectors[asked] @ vectors[learnt].T, axis=1)]
        right += list(table["identity"][asked].to_numpy() == table["identity"][nearest].to_numpy())
    return float(np.mean(right))


def test_one_rank_embeds_as_ever_and_names_as_by_hand(alone: dict[str, Any]) -> None:
    torch.manual_seed(0)
    encoder = Encoder(build(TRIAL.backbone, weights="random", input_px=PX))
    for count in COUNTS:
        positions = np.arange(count)[::-1].copy()
        expected = embed(encoder, photos(), positions, px=PX, device=torch.device("cpu"))
        np.testing.assert_array_equal(alone["vectors"][count], expected)
    assert alone["figures"] == {"val/top1": by_hand(encoder)}
    assert 0 < alone["figures"]["val/top1"] < 1
    assert (alone["photos"], alone["rungs"]) == (24, {3})


@pytest.mark.slow
def test_two_ranks_have_the_vectors_and_the_figure_of_one(alone: dict[str, Any], tmp_path: Path) -> None:
    world = 2
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(rank, (world, port, str(tmp_path)), nprocs=world)
    first, *others = (torch.load(tmp_path / f"{r}.pt", weights_only=False) for r in range(world))
    for count in COUNTS:
        np.testing.assert_array_equal(first["vectors"][count], alone["vectors"][count])
    assert first["figures"] == alone["figures"]
    for other in others:
        assert (other["figures"], set(other["vectors"].values())) == ({}, {None})

"""Score what needs no training: chance, backbones as they are born, and pre-trained models.

In: the study's photos and a plan per baseline. Out: a finished method folder each.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import ray

from reid_ray.errors import ReidError
from reid_ray.evaluation.metrics import chance_metrics
from reid_ray.on_ray.trial import Materials
from reid_ray.runs.methods import Family, MethodFolder, Result
from reid_ray.runs.study import StudyFolder


@dataclass(frozen=True)
class EncoderPlan:
    """A model to be scored as it comes.

    Attributes:
        input_px: side of its square input.
        seed: of random weights; the trials' own, so that both start from the same numbers.
    """

    key: str
    name: str
    family: Family
    model: str
    weights: str
    input_px: int
    seed: int
    top_k: int


def score_chance(key: str, rows: pd.DataFrame, folder: MethodFolder) -> None:
    """Expected figures of ranking the references at random."""
    result = Result(
        key=key,
        method="chance",
        kind="baseline",
        family="chance",
        scope="+".join(pd.unique(rows["dataset"])),
        metrics=chance_metrics(rows),
        started_at=time.time(),
        note="expectation of ranking the references at random",
    )
    folder.finish(result)


def score_encoders(
    plans: Sequence[EncoderPlan],
    materials: ray.ObjectRef,
    study: StudyFolder,
    *,
    gpus: float,
    progress: Callable[[int], None],
) -> None:
    """Embed and search with every plan, in parallel; a model that cannot be had is `failed`, never 0."""
    waiting = [
        _score.options(num_cpus=1, num_gpus=gpus).remote(
            plan, materials, str(study.method(plan.key).path)
        )
        for plan in plans
    ]
    while waiting:
        ended, waiting = ray.wait(waiting)
        ray.get(ended)
        progress(len(plans) - len(waiting))


@ray.remote(max_retries=3)  # type: ignore[untyped-decorator]
def _score(plan: EncoderPlan, materials: Materials, folder: str) -> None:
    import torch

    from reid_ray.embedding import backbones
    from reid_ray.embedding.model import Encoder
    from reid_ray.evaluation.metrics import summarise
    from reid_ray.evaluation.predictions import answer_queries
    from reid_ray.on_ray.trial import embedding_lookups, embedding_search

    started_at, began = time.time(), time.monotonic()
    device = torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu")
    base = Result(
        key=plan.key,
        method=plan.name,
        kind="baseline",
        family=plan.family,
        scope="+".join(pd.unique(materials.rows["dataset"])),
        params={"backbone": plan.model, "input_px": plan.input_px, "seed": plan.seed},
        started_at=started_at,
    )
    torch.manual_seed(plan.seed)
    try:
        backbone = backbones.build(plan.model, weights=plan.weights, input_px=plan.input_px)
    except ReidError as error:
        MethodFolder(Path(folder)).finish(base.but(status="failed", note=f"not run: {error}"))
        return
    encoder = Encoder(backbone).to(device)
    search = embedding_search(
        encoder, materials.images, px=plan.input_px, device=device, k=plan.top_k
    )
    calibrate = embedding_lookups(
        encoder, materials.images, materials.rows, px=plan.input_px, device=device
    )
    predictions = answer_queries(materials.rows, search, calibrate=calibrate)
    result = base.but(
        metrics=summarise(predictions), seconds=time.monotonic() - began, note=backbone.weights
    )
    MethodFolder(Path(folder)).finish(result, predictions)

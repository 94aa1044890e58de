"""Run one training of a study from start to result, wherever it was placed.

In: a `Plan` and the study's photos. Out: a finished method folder. The same body runs inside a Tune actor
and on every DDP worker of Ray Train; rank 0 alone writes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from reid_ray.config.training import ArcFace, Trial
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.embedding.context import Worker
from reid_ray.embedding.embed import embed
from reid_ray.embedding.loop import Diverged, Row, TrainSet, train
from reid_ray.embedding.model import Encoder
from reid_ray.errors import DatasetError, ReidError, TrialError
from reid_ray.evaluation.knn import cosine_knn
from reid_ray.evaluation.metrics import summarise
from reid_ray.evaluation.predictions import Search, answer_queries
from reid_ray.runs.methods import Kind, MethodFolder, Result

OUT_OF_MEMORY = (
    "out of memory: lower training.batch_size, raise accumulation, or give trials a whole GPU"
)


@dataclass(frozen=True)
class Materials:
    """What all methods of a study share; its arrays are read in place from Ray's object store."""

    images: PreparedImages
    rows: pd.DataFrame


@dataclass(frozen=True)
class Plan:
    """One training to be done.

    Attributes:
        datasets: names of those it is trained and evaluated on; unseen ones are only evaluated.
        weights: where the backbone starts from, decided once for the study.
        note: a sentence on these weights.
    """

    key: str
    kind: Kind
    trial: Trial
    datasets: tuple[str, ...]
    weights: str
    note: str
    top_k: int

    def empty_result(self) -> Result:
        """The result before anything was achieved."""
        loss = self.trial.loss
        params: dict[str, str | int | float | bool] = {
            "backbone": self.trial.backbone,
            "loss": "ArcFace" if isinstance(loss, ArcFace) else "Triplet",
            "lr": self.trial.lr,
            "epochs": self.trial.epochs,
            "batch_size": self.trial.batch_size,
            "input_px": self.trial.input_px,
            "seed": self.trial.seed,
        }
        if isinstance(loss, ArcFace):
            params |= {"margin": loss.margin_rad, "scale": loss.scale}
        else:
            params |= {"margin": loss.margin, "mining": loss.mining}
        return Result(
            key=self.key,
            method=self.trial.label,
            kind=self.kind,
            family="ArcFace" if isinstance(loss, ArcFace) else "Triplet",
            scope="+".join(self.datasets),
            params=params,
            note=self.note,
            started_at=time.time(),
        )


def run(
    plan: Plan,
    materials: Materials,
    worker: Worker,
    folder: MethodFolder,
    report: Callable[[Row], None],
) -> Result:
    """Train, answer the queries, write the result; divergence and lack of memory are results too.

    Raises:
        TrialError: this worker failed, and the others must not wait for it; the result says why.
    """
    started = time.monotonic()
    rows, images = within(materials.rows, plan.datasets), materials.images
    result = plan.empty_result()
    predictions = None
    try:
        encoder, validation = _train(plan, rows, images, worker, folder, report)
        if worker.rank == 0:
            px = plan.trial.input_px
            search = embedding_search(encoder, images, px=px, device=worker.device, k=plan.top_k)
            predictions = answer_queries(rows, search)
            result = result.but(metrics=summarise(predictions) | validation)
    except Diverged as error:
        result = result.but(status="diverged", note=str(error))
    except ReidError as error:
        result = result.but(status="failed", note=str(error))
    except RuntimeError as error:
        if not _out_of_memory(error):
            raise
        result = result.but(status="out_of_memory", note=OUT_OF_MEMORY)
    result = result.but(seconds=time.monotonic() - started)
    alone_in_this = worker.world > 1 and result.status in ("failed", "out_of_memory")
    if worker.rank == 0 or alone_in_this:
        folder.finish(result, predictions)
    if alone_in_this:
        raise TrialError(f"{plan.trial.label}: {result.note}")
    return result


def _out_of_memory(error: RuntimeError) -> bool:
    """On a GPU it has a type of its own, on the CPU only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def embedding_search(
    encoder: Encoder, images: PreparedImages, *, px: int, device: torch.device, k: int
) -> Search:
    """Cosine 1-NN on an encoder's vectors, in the form that `answer_queries` calls."""
    vectors = partial(embed, encoder, images, px=px, device=device)
    return lambda queries, references, query_labels, reference_labels: cosine_knn(
        vectors(queries), vectors(references), query_labels, reference_labels, k=k
    )


def within(rows: pd.DataFrame, datasets: tuple[str, ...]) -> pd.DataFrame:
    """The whole table, so that row numbers stay photo numbers, with other datasets out of the split."""
    rows = rows.copy()
    rows.loc[~rows["dataset"].isin(datasets), "split"] = "none"
    return rows


def _train(
    plan: Plan,
    rows: pd.DataFrame,
    images: PreparedImages,
    worker: Worker,
    folder: MethodFolder,
    report: Callable[[Row], None],
) -> tuple[Encoder, Row]:
    """The trained encoder and its validation figures; the history goes to the method's folder."""
    search = partial(
        embedding_search, images=images, px=plan.trial.input_px, device=worker.device, k=1
    )

    def validate(encoder: Encoder) -> Row:
        answers = answer_queries(rows, search(encoder), validation=True)
        return {"val/top1": float(answers["correct"].mean())} if len(answers) else {}

    def keep(row: Row) -> None:
        if worker.rank == 0:
            folder.append_history(row)
        report(row)

    trained = train(
        plan.trial,
        training_set(rows, images),
        worker,
        weights=plan.weights,
        report=keep,
        validate=validate,
        folder=folder.checkpoint_path,
    )
    return trained.model.encoder, trained.validation


def training_set(rows: pd.DataFrame, images: PreparedImages) -> TrainSet:
    """Reference photos of seen domains, less the validation slice; identities apart by dataset."""
    chosen = (rows["split"] == "reference") & ~rows["validation"] & (rows["domain"] == "seen")
    positions = np.flatnonzero(chosen.to_numpy(bool))
    names = rows["dataset"].astype(str) + "/" + rows["identity"].astype(str)
    labels = pd.factorize(names.iloc[positions], sort=True)[0].astype(np.int64)
    if len(positions) == 0 or labels.max() == 0:
        raise DatasetError(
            f"{len(positions)} photos of {len(set(labels))} identities to train on; at least two known "
            "identities are needed in the seen domains"
        )
    return TrainSet(images, positions, labels)

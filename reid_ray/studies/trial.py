"""Run one training of a study from start to result, wherever it was placed.

In: a `Plan` and the study's photos. Out: a finished method folder. The same body runs inside a Tune actor
and on every DDP worker of Ray Train; rank 0 alone writes.
"""

import gc
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reid_ray.config.candidate_sets import ALL, CandidateSets
from reid_ray.config.training import ArcFace, Trial
from reid_ray.config.transfer import Variant
from reid_ray.datasets.prepared import Materials, PreparedImages
from reid_ray.embedding import checkpoint, loop
from reid_ray.embedding.context import Worker
from reid_ray.embedding.embed import embed, embed_shared
from reid_ray.embedding.loop import Diverged, TrainSet
from reid_ray.embedding.model import Encoder
from reid_ray.embedding.selection import CRITERION
from reid_ray.embedding.usage import used
from reid_ray.embedding.validation import Row, Validation
from reid_ray.errors import DatasetError, ReidError, StorageError, TrialError
from reid_ray.evaluation.ranking import Ranked
from reid_ray.methods.answer import answer
from reid_ray.methods.bench import Bench, InProcess
from reid_ray.methods.embedding import embedding_ready
from reid_ray.methods.gallery import Gallery, galleries
from reid_ray.methods.ready import Known, Ready
from reid_ray.methods.scorer import EmbeddingScorer
from reid_ray.runs import files, seals
from reid_ray.runs.methods import Kind, MethodFolder, Result
from reid_ray.splits.domains import variant_rows
from reid_ray.splits.learnable import trained_on

OUT_OF_MEMORY = "out of memory: lower training.batch_size, raise accumulation, or give trials a whole GPU"

BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    TypeError,
    ValueError,
)
"""What would happen again in every retry. A lost peer, GPU or disk raises RuntimeError or OSError."""


@dataclass(frozen=True)
class Plan:
    """One training to be done.

    Attributes:
        datasets: names of those it is trained and evaluated on; unseen ones are only evaluated.
        weights: where the backbone starts from, decided once for the study.
        note: a sentence on these weights.
        variant: what is withheld from the training; then `datasets` are only those whose queries are
            asked, and it learns from `trained_on`. None: as `datasets` says.
        sets: which references may answer.
        rungs: epochs after which a search compares trials.
    """

    key: str
    kind: Kind
    trial: Trial
    datasets: tuple[str, ...]
    weights: str
    note: str
    top_k: int
    variant: Variant | None = None
    trained_on: tuple[str, ...] = ()
    sets: CandidateSets = ALL
    rungs: frozenset[int] = frozenset()

    def within(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The whole table, so that row numbers stay photo numbers, as this training sees it."""
        if self.variant is not None:
            return variant_rows(rows, self.datasets, self.variant)
        return within(rows, self.datasets)

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
            params |= {"margin": loss.margin, "mining": loss.mining, "distance": loss.distance}
        if self.variant is not None:
            params |= {"variant": self.variant, "trained_on": "+".join(self.trained_on)}
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
    plan: Plan, materials: Materials, worker: Worker, folder: MethodFolder, report: Callable[[Row], None]
) -> Result:
    """Train, answer the queries, write the result; divergence and lack of memory are results too, and
    so is whatever no retry can mend.

    Raises:
        TrialError: this worker failed, and the others must not wait for it; the result says why.
    """
    started = time.monotonic()
    rows, images = plan.within(materials.rows), materials.images
    result = plan.empty_result()
    predictions = learnt = None
    try:
        once = partial(_train, plan, rows, images, worker, folder, report)
        trained = _train_in_parts(once, plan.trial, worker, folder)
        if worker.device.type == "cuda":
            result = result.but(params=result.params | asdict(trained.way))
        if (parts := parts_of(folder)) > 1:
            result = result.but(note=f"{result.note} {_in_parts(plan.trial, parts)}".strip())
        if worker.rank == 0:
            method = Trained(trained.model.encoder, images, plan.trial.input_px, worker.device, plan.sets)
            bench = InProcess(images, folder.path)
            found = answer(method, rows, bench, k=plan.top_k, validate=False)
            predictions, learnt = found.predictions, found.learnt
            result = result.but(metrics=found.metrics | trained.validation)
    except StartAgain:
        raise
    except Diverged as error:
        result = result.but(status="diverged", note=str(error))
    except ReidError as error:
        result = result.but(status="failed", note=str(error))
    except BUGS as error:
        files.write_bytes(folder.path / "error.txt", traceback.format_exc().encode())
        note = f"fault of the program ({type(error).__name__}: {error}), see error.txt in its folder"
        result = result.but(status="failed", note=note)
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
        result = result.but(status="out_of_memory", note=OUT_OF_MEMORY)
    result = result.but(seconds=time.monotonic() - started)
    alone_in_this = worker.world > 1 and result.status in ("failed", "out_of_memory")
    if worker.rank == 0 or alone_in_this:
        folder.finish(result, predictions, learnt)
        if result.status == "diverged":
            checkpoint.remove(folder.checkpoint_path)
    if alone_in_this:
        raise TrialError(f"{plan.trial.label}: {result.note}")
    return result


def out_of_memory(error: RuntimeError) -> bool:
    """On a GPU it has a type of its own, on the CPU only a message."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class Trained:
    """A network that this process has just trained, as a method."""

    encoder: Encoder
    images: PreparedImages
    px: int
    device: torch.device
    sets: CandidateSets = ALL
    name = "trained"
    trained = True

    def check(self) -> None:
        """Nothing to do: it is there."""

    def scorer(self, gallery: Gallery) -> EmbeddingScorer:
        """Vectors of the gallery's photos."""
        vectors = embed(self.encoder, self.images, gallery.photos, px=self.px, device=self.device)
        return EmbeddingScorer.of(vectors)

    def prepare(
        self, galleries: Sequence[Gallery], bench: Bench, *, learnt: Known = None, folder: Path | None = None
    ) -> list[Ready]:
        """Vectors of all photos; nothing is fitted."""
        return [embedding_ready(self, one.under(self.sets), self.scorer(one), bench) for one in galleries]


def within(rows: pd.DataFrame, datasets: tuple[str, ...]) -> pd.DataFrame:
    """The whole table, so that row numbers stay photo numbers, with other datasets out of the split."""
    rows = rows.copy()
    rows.loc[~rows["dataset"].isin(datasets), "split"] = "none"
    return rows


class StartAgain(TrialError):
    """A worker ran out of memory, and all workers go on with the batch in more parts."""


PARTS = "accumulation.json"
"""How many times the batch was halved so that a training fits the memory, in the method's folder."""


def parts_of(folder: MethodFolder) -> int:
    """By what `accumulation` is multiplied, as an earlier try ran out of memory; 1 where none did."""
    path = folder.path / PARTS
    try:
        return max(1, int(seals.unsealed(files.read_json(path), path)["parts"])) if files.exists(path) else 1
    except (StorageError, KeyError, TypeError, ValueError):
        return 1


def _train_in_parts(
    once: Callable[[], loop.Trained], trial: Trial, worker: Worker, folder: MethodFolder
) -> loop.Trained:
    """`once`, a training, with batches in twice as many parts wherever memory runs out; they stay whole.

    Raises:
        StartAgain: the other workers must start again, too.
        RuntimeError: the batch cannot be divided further.
    """
    while True:
        try:
            return once()
        except RuntimeError as error:
            parts = 2 * parts_of(folder)
            each = worker.world * parts * trial.accumulation
            # With `sum` every part is a batch of its own, so more parts would be another training.
            if not out_of_memory(error) or trial.accumulate == "sum" or trial.batch_size % each:
                raise
        files.write_json(folder.path / PARTS, seals.sealed({"parts": parts}))
        gc.collect()  # the frames of the error held the model
        if worker.device.type == "cuda":
            torch.cuda.empty_cache()
        if worker.world > 1:
            raise StartAgain(f"{trial.label}: {_in_parts(trial, parts)}; all workers start again")


def _in_parts(trial: Trial, parts: int) -> str:
    return (
        f"out of memory with accumulation {trial.accumulation}, so the same batches of {trial.batch_size} "
        f"were trained with accumulation {trial.accumulation * parts}"
    )


def _train(
    plan: Plan,
    rows: pd.DataFrame,
    images: PreparedImages,
    worker: Worker,
    folder: MethodFolder,
    report: Callable[[Row], None],
) -> loop.Trained:
    """Train by the plan; the history goes to the method's folder."""

    asked = list(galleries(rows, validation=True))

    def figures(encoder: Encoder) -> Row:
        named = []
        for one in asked:
            vectors = embed_shared(encoder, images, one.photos, px=plan.trial.input_px, worker=worker)
            if vectors is not None:
                found = EmbeddingScorer.of(vectors).rank(one.under(plan.sets), one.queries, k=1)
                named.append(Ranked.of_arrays(found).first_correct == 1)
        return {CRITERION: float(np.concatenate(named).mean())} if named else {}

    def keep(row: Row) -> None:
        if worker.rank == 0:
            folder.append_history({**row, **used(worker.device), "ended_at": time.time()})
        report(row)

    return loop.train(
        plan.trial,
        training_set(rows, images),
        worker,
        weights=plan.weights,
        report=keep,
        validation=Validation(figures, sum(len(one.photos) for one in asked), plan.rungs),
        folder=folder.checkpoint_path,
        parts=parts_of(folder),
    )


def training_set(rows: pd.DataFrame, images: PreparedImages) -> TrainSet:
    """What `trained_on` says, identities apart by dataset."""
    positions = np.flatnonzero(trained_on(rows))
    names = rows["dataset"].astype(str) + "/" + rows["identity"].astype(str)
    labels = pd.factorize(names.iloc[positions], sort=True)[0].astype(np.int64)
    if len(positions) == 0 or labels.max() == 0:
        raise DatasetError(
            f"{len(positions)} photos of {len(set(labels))} identities to train on; at least two known "
            "identities are needed in the seen domains"
        )
    return TrainSet(images, positions, labels)

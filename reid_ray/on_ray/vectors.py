"""Embed a study's photos with one of its models, for shortlists and fusions. In: which model. Out:
one vector per photo.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import ray
from numpy.typing import NDArray
from ray.exceptions import RayTaskError

from reid_ray.config.models import Three
from reid_ray.errors import ReidError
from reid_ray.on_ray.encoders import EncoderPlan
from reid_ray.runs.study import StudyFolder
from reid_ray.studies.trial import Materials, Plan


@dataclass(frozen=True)
class Encoding:
    """A model and the datasets that it embeds.

    Attributes:
        checkpoint: folder of trained weights; "": the model as it comes.
        mean, std, interpolation: in place of the weights' own, where given.
        store: folder of all models' vectors, for models as they come; their own search has left
            theirs there.
    """

    datasets: tuple[str, ...]
    model: str
    weights: str
    input_px: int
    seed: int
    checkpoint: str = ""
    mean: Three | None = None
    std: Three | None = None
    interpolation: str | None = None
    store: Path | None = None


@dataclass(frozen=True)
class Source:
    """An embedding method of a study.

    Attributes:
        key: of everything that decides its vectors.
        encodings: one model, or with scope `per_dataset` one for each dataset.
        trained: whether it has seen the reference photos of seen domains that do not validate.
    """

    name: str
    key: str
    encodings: tuple[Encoding, ...]
    trained: bool

    @classmethod
    def as_it_comes(cls, plan: EncoderPlan, datasets: Sequence[str], study: StudyFolder) -> "Source":
        """A pre-trained or untrained model."""
        encoding = Encoding(
            tuple(datasets),
            plan.model,
            plan.weights,
            plan.input_px,
            plan.seed,
            mean=plan.mean,
            std=plan.std,
            interpolation=plan.interpolation,
            store=study.path.parent / "vectors",
        )
        return cls(plan.name, plan.key, (encoding,), trained=False)

    @classmethod
    def winner(cls, name: str, key: str, plans: Sequence[Plan], study: StudyFolder) -> "Source":
        """The chosen trial, trained once or once per dataset."""
        encodings = tuple(
            Encoding(
                plan.datasets,
                plan.trial.backbone,
                plan.weights,
                plan.trial.input_px,
                plan.trial.seed,
                str(study.method(plan.key).checkpoint_path),
            )
            for plan in plans
        )
        return cls(name, key, encodings, trained=True)


@dataclass(frozen=True)
class Embedded:
    """Vectors float32 [rows, d] of the photos of `datasets`; other rows are zero."""

    vectors_nd: NDArray[np.float32]
    datasets: tuple[str, ...]
    trained: bool


def embedded(source: Source, materials: ray.ObjectRef, rows: pd.DataFrame, *, gpus: float) -> Embedded:
    """Embed all query and reference photos, each dataset by its model, in parallel.

    Raises:
        WeightsError, StorageError: the model cannot be had.
    """
    split = rows["split"].isin(["query", "reference"]).to_numpy(bool)
    places = [
        np.flatnonzero(split & rows["dataset"].isin(encoding.datasets).to_numpy(bool))
        for encoding in source.encodings
    ]
    waiting = [
        _encode.options(num_cpus=1, num_gpus=gpus).remote(encoding, materials, where)
        for encoding, where in zip(source.encodings, places, strict=True)
    ]
    try:
        found: list[NDArray[np.float32]] = ray.get(waiting)
    except RayTaskError as error:  # what the work itself raised, as it was raised
        raise error.cause if isinstance(error.cause, ReidError) else error from None
    vectors = np.zeros((len(rows), found[0].shape[1]), np.float32)
    for where, part in zip(places, found, strict=True):
        vectors[where] = part
    datasets = tuple(name for encoding in source.encodings for name in encoding.datasets)
    return Embedded(vectors, datasets, source.trained)


@ray.remote(max_retries=3)  # type: ignore[untyped-decorator]
def _encode(encoding: Encoding, materials: Materials, positions: NDArray[np.int64]) -> NDArray[np.float32]:
    import torch

    from reid_ray.embedding import backbones
    from reid_ray.embedding.checkpoint import load_encoder
    from reid_ray.embedding.embed import embed
    from reid_ray.embedding.encoding import Model
    from reid_ray.embedding.model import Encoder

    where = torch.device("cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu")
    if encoding.store is not None:
        model = Model.build(
            encoding.model,
            encoding.model,
            weights=encoding.weights,
            px=encoding.input_px,
            seed=encoding.seed,
            mean=encoding.mean,
            std=encoding.std,
            interpolation=encoding.interpolation,
            store=encoding.store,
            device=where,
        )
        return model.vectors(materials.images, positions)
    encoder = Encoder(backbones.build(encoding.model, weights=encoding.weights, input_px=encoding.input_px))
    load_encoder(Path(encoding.checkpoint), encoder)
    return embed(encoder.to(where), materials.images, positions, px=encoding.input_px, device=where)

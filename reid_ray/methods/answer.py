"""Ask a method every question of a study: leave-one-out, validation, queries.

In: a method, the table with its split. Out: one row per query, figures, and what was learnt.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.evaluation.intervals import animals_mean
from reid_ray.evaluation.metrics import summarise
from reid_ray.evaluation.predictions import PROBABILITIES, pool, predictions_table
from reid_ray.evaluation.quality import probability_figures
from reid_ray.evaluation.ranking import Ranked
from reid_ray.methods.bench import Bench
from reid_ray.methods.fusion import Fusing, cross_fitted_right
from reid_ray.methods.gallery import Gallery, Positions, galleries
from reid_ray.methods.probability import Probability
from reid_ray.methods.ready import Learnt, Method, Params, Ready
from reid_ray.methods.scorer import Arrays
from reid_ray.methods.worth import Asked, learn_worth

JUDGED = 1000
"""At most so many queries of a collection judge the probabilities."""

Progress = Callable[[int, bool], None]
"""Called with the pairs that were answered, and whether that was done now."""


@dataclass(frozen=True)
class Answered:
    """What a method leaves behind in a study.

    Attributes:
        predictions: one row per query, see `evaluation.predictions`.
        metrics: figures by sectioned name.
        params: what was chosen, as flat scalars.
        learnt: by fingerprint of the gallery, all that was chosen or fitted on its references.
        ready: the method on each collection that it answered.
    """

    predictions: pd.DataFrame
    metrics: dict[str, float]
    params: Params
    learnt: dict[str, Learnt]
    ready: list[Ready] = field(default_factory=list)


def answer(
    method: Method,
    rows: pd.DataFrame,
    bench: Bench,
    *,
    k: int,
    folder: Path | None = None,
    validate: bool = True,
    progress: Progress = lambda *_: None,
) -> Answered:
    """Fit a method on the references of each collection, then ask it the queries.

    Args:
        k: references kept per query.
        folder: of the method; finished work is kept there.
        validate: also ask it the validation photos.

    Raises:
        DatasetError: a fusion has nothing to fit on. WeightsError: weights are missing or not its own.
    """
    method.check()
    found = method.prepare(list(galleries(rows)), bench, folder=folder)
    tables, learnt, measured = [], {}, []
    for ready in found:
        table, own, arrays = _answer(ready, rows, bench, k, progress)
        tables.append(table)
        learnt[ready.gallery.fingerprint] = own
        measured.append(arrays)
    predictions = pool(tables)
    names = [ready.gallery.name for ready in found]
    metrics = summarise(predictions) | probability_figures(predictions) | _curves(found, measured)
    if validate:
        metrics |= validation_figures(method, found, rows, bench)
    params = _params(found)
    return Answered(predictions, metrics, params if names else {}, learnt, found)


def ranked_answers(
    rows: pd.DataFrame, rank: Callable[[Gallery], Ranked], *, validation: bool = False
) -> pd.DataFrame:
    """One row per query by a function that ranks a gallery's references for its queries.

    Args:
        validation: as in `galleries`.
    """
    tables = []
    for gallery in galleries(rows, validation=validation):
        references, queries = gallery.photos[: gallery.references], gallery.photos[gallery.references :]
        tables.append(predictions_table(rows, queries, references, rank(gallery)))
    return pool(tables)


def _answer(
    ready: Ready, rows: pd.DataFrame, bench: Bench, k: int, progress: Progress
) -> tuple[pd.DataFrame, Learnt, Arrays]:
    gallery = ready.gallery
    queries, references = gallery.photos[gallery.references :], gallery.photos[: gallery.references]
    ranked, measured = ready.rank(
        bench, gallery.queries, k=k, done=lambda queries, fresh: progress(queries * ready.matched, fresh)
    )
    table = predictions_table(rows, queries, references, ranked)
    worth = learn_worth(ready, bench, Asked())
    if not table["known"].all():
        table["threshold"] = worth.threshold
    for name, values in zip(PROBABILITIES, judged(ready, bench, worth.model), strict=True):
        table[name] = values
    return table, {**ready.learnt, **worth.as_json()}, measured


def judged(ready: Ready, bench: Bench, model: Probability | None) -> list[NDArray[np.float64]]:
    """`PROBABILITIES` of the queries, each float64 [q]; of at most `JUDGED`, evenly thinned."""
    gallery = ready.gallery
    count = len(gallery.queries)
    found = [np.full(count, np.nan) for _ in PROBABILITIES]
    if model is None:
        return found
    places = np.arange(count)
    if count > JUDGED:
        places = np.linspace(0, count - 1, JUDGED).round().astype(np.int64)
    asked = gallery.queries[places]
    animals = np.unique(gallery.labels_g)
    own = np.searchsorted(animals, gallery.labels[asked])
    own = np.where(animals[np.minimum(own, len(animals) - 1)] == gallery.labels[asked], own, -1)
    encounter = ready.scorer.excludes_encounter
    for rows, part in ready.animals(bench, asked, encounter=encounter):
        _write(found[:2], places[rows], model, part.scores, part.place)
        if ready.scorer.pairwise:
            without = part.without(own[rows])
            _write(found[2:], places[rows], model, without.scores, without.place)
    if not ready.scorer.pairwise:
        for rows, part in ready.animals(bench, asked, encounter=encounter, withheld=True):
            _write(found[2:], places[rows], model, part.scores, part.place)
    unknown = places[own < 0]
    for column in found[2:]:
        column[unknown] = np.nan  # there is nothing to withhold
    return found


def _write(
    columns: Sequence[NDArray[np.float64]],
    at: Positions,
    model: Probability,
    scores: NDArray[np.float32],
    place: Positions,
) -> None:
    candidates = model.candidates(scores[: model.looks], most=Asked.candidates, place_qi=place)
    columns[0][at] = candidates.probability_qc[:, 0]
    columns[1][at] = candidates.unknown_q


def validation_figures(
    method: Method, ready: Sequence[Ready], rows: pd.DataFrame, bench: Bench
) -> dict[str, float]:
    """`val/top1` over all validation photos and `val/<collection>/top1`; {} where there are none.

    Validation photos are references that are kept out of training. They are asked among those that are
    not, by what was chosen or fitted without them.
    """
    asked = {gallery.name: gallery for gallery in galleries(rows, validation=True)}
    found: dict[str, NDArray[np.bool_]] = {}
    for one in ready:
        if (gallery := asked.get(one.gallery.name)) is not None:
            found[gallery.name] = _validated(method, one, gallery, bench)
    figures = {f"val/{name}/top1": float(right.mean()) for name, right in found.items() if len(right)}
    if figures:
        figures["val/top1"] = float(np.concatenate(list(found.values())).mean())
    return figures


def _validated(method: Method, ready: Ready, gallery: Gallery, bench: Bench) -> NDArray[np.bool_]:
    """Whether each validation photo of one collection is named rightly."""
    if isinstance(method, Fusing):
        return cross_fitted_right(method, ready, gallery, bench)
    learnt = ready.learnt if ready.unvalidated is None else ready.unvalidated
    alone = method.prepare([gallery], bench, learnt={gallery.fingerprint: learnt})[0]
    ranked, _ = alone.rank(bench, gallery.queries, k=1)
    return np.asarray(ranked.first_correct == 1)


def _params(ready: Sequence[Ready]) -> Params:
    """What was chosen on each collection; with its name where there are several."""
    params: Params = {}
    for one in ready:
        for what, value in one.params.items():
            params[what if len(ready) == 1 else f"{what}/{one.gallery.name}"] = value
    return params


def local_params(config: Matching, ready: Sequence[Ready]) -> Params:
    """What a reader wants to know of a local-feature method, whatever the collection."""
    counts = np.concatenate([one.keypoints for one in ready] or [np.zeros(1, np.int64)])
    params: Params = {
        "extractor": config.extractor.kind,
        "score": config.score,
        "mutual": config.mutual,
        "keypoints_per_photo": round(float(np.mean(counts)), 1),
    }
    if config.verify:
        params["verify"] = config.verify.model
        if not config.scores_first:
            del params["score"]  # nothing was scored before
    if config.shortlist is not None:
        params |= {"shortlist": config.shortlist.by, "candidates": config.shortlist.size}
    return params


def _curves(ready: Sequence[Ready], measured: Sequence[Arrays]) -> dict[str, float]:
    """`shortlist/<collection>/among_<B>`: share of queries whose animal is among the first B;
    `top1_<B>`: share answered rightly behind a shortlist of B, its interval over animals in `top1_low_<B>`
    and `top1_high_<B>`; of animals that have a reference.
    """
    found: dict[str, float] = {}
    for one, arrays in zip(ready, measured, strict=True):
        if not arrays or not arrays["measured_known"].any():
            continue
        known = arrays["measured_known"]
        sizes: Any = getattr(one.scorer, "sizes", ())
        for place, size in enumerate(sizes):
            for what, name in (("among", "among"), ("right", "top1")):
                values = arrays[f"measured_{what}"][known, place].astype(np.float64)
                found[f"shortlist/{one.gallery.name}/{name}_{size}"] = float(values.mean())
                if what == "right":
                    animals = one.gallery.labels[one.gallery.queries][known]
                    for end, value in zip(("low", "high"), animals_mean(values, animals), strict=True):
                        found[f"shortlist/{one.gallery.name}/{name}_{end}_{size}"] = value
    return found

"""Ask who it is without showing the animal: whatever is above chance comes from the background.

In: prepared photos, masks. Out: top-1 per collection, beside chance. Each photo's background is
described plainly, by its colours and by a picture of 16 x 16 pixels, and searched by cosine like
any embedding: places that are met again are found so, without training and in the same way in every
study. At chance it proves no more than that; above chance, methods may have learnt places.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import Images
from reid_ray.datasets.cutout import CROP
from reid_ray.datasets.masks import has_mask, read_background
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.evaluation.metrics import chance, summarise
from reid_ray.evaluation.ranking import Ranked
from reid_ray.methods.answer import ranked_answers
from reid_ray.methods.gallery import Gallery
from reid_ray.methods.scorer import EmbeddingScorer

_SMALL_PX = 16
_BINS = 16
_WIDTH = 3 * (_SMALL_PX**2 + _BINS)


def background_scores(
    rows: pd.DataFrame,
    images: PreparedImages,
    settings: Images,
    *,
    boxes: bool,
    told: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """One entry per collection whose photos have masks (or, with `boxes`, boxes) on both sides.

    Keys: `dataset`, `photos` that took part, `queries`, `top1` with `top1_low` and
        `top1_high`, expected `chance` of the same queries, `beats_chance`: the whole interval is
        above it.

    Args:
        told: called with a sentence on each mask that cannot be read.
    """
    described = _describe(rows, images, settings, boxes=boxes, told=told)
    shown = pd.Series(np.isfinite(described).all(axis=1), rows.index)
    rows = rows.assign(split=rows["split"].where(shown, "none"))
    answers = ranked_answers(rows, partial(_rank, described))
    if answers.empty:
        return []
    expected = chance(rows).set_index("query")["top1"]
    figures = summarise(answers)
    scores = []
    for name, part in answers.groupby("dataset", sort=False):
        section = f"test/{name}"
        if f"{section}/top1" not in figures:
            continue
        known = part.loc[part["known"].astype(bool), "query"]
        guessed = float(expected[known].mean())
        taking_part = rows["dataset"].eq(name) & rows["split"].isin(["reference", "query"])
        top1 = {m: figures[f"{section}/{m}"] for m in ("top1", "top1_low", "top1_high")}
        scores.append(
            {
                "dataset": str(name),
                "photos": int(taking_part.sum()),
                "queries": len(known),
                **top1,
                "chance": guessed,
                "beats_chance": top1["top1_low"] > guessed,
            }
        )
    return scores


def background_warning(score: dict[str, Any]) -> str:
    """A sentence for the reader on a collection whose background tells who it is."""
    return (
        f"{score['dataset']}: the background alone names {100 * score['top1']:.1f} % of "
        f"{score['queries']} query photos rightly (95 % interval {100 * score['top1_low']:.1f} to "
        f"{100 * score['top1_high']:.1f}), where guessing gives {100 * score['chance']:.1f} %; "
        "figures may be of places, not of animals"
    )


def describe(pixels: NDArray[np.uint8], background: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Colours and a small picture of what is not the animal, each of length 1; float32 [816].

    The animal is filled with the background's mean colour.
    """
    seen = pixels[background].astype(np.float32)
    mean = seen.mean(axis=0)
    filled = np.where(background[..., None], pixels, mean.astype(np.uint8))
    small = cv2.resize(filled, (_SMALL_PX, _SMALL_PX), interpolation=cv2.INTER_AREA)
    colours = [np.histogram(seen[:, c], _BINS, (0, 256))[0] for c in range(3)]
    parts = [small.astype(np.float32).reshape(-1) - 128, np.sqrt(np.concatenate(colours))]
    return np.concatenate([part / (np.linalg.norm(part) or 1) for part in parts]).astype(np.float32)


def _describe(
    rows: pd.DataFrame, images: PreparedImages, settings: Images, *, boxes: bool, told: Callable[[str], None]
) -> NDArray[np.float32]:
    """[n, d]; NaN for photos that take no part or have no mask."""
    described = np.full((len(rows), _WIDTH), np.nan, np.float32)
    columns = [c for c in ("root", "path", "mask", "segmentation", "bbox", CROP) if c in rows]
    asked = np.flatnonzero(rows["split"].isin(["reference", "query"]))
    table: list[dict[Any, Any]] = rows[columns].iloc[asked].to_dict("records")
    chosen = [(place, row) for place, row in zip(asked, table, strict=True) if has_mask(row, boxes=boxes)]

    def work(item: tuple[int, Any]) -> None:
        place, row = item
        pixels = images[int(place)]
        background = read_background(row, settings, size_hw=pixels.shape[:2], boxes=boxes, told=told)
        if background is not None:
            described[place] = describe(pixels, background)

    with ThreadPoolExecutor() as pool:
        list(pool.map(work, chosen))
    return described


def _rank(described: NDArray[np.float32], gallery: Gallery) -> Ranked:
    mine = described[gallery.photos]
    middle = mine[: gallery.references].mean(axis=0) if gallery.references else 0
    arrays = EmbeddingScorer.of(mine - middle).rank(gallery, gallery.queries, k=1)
    return Ranked.of_arrays(arrays)

"""Measure how fast one core of this machine matches some of a study's own photos, for a look ahead.

In: the table, a local-feature method. Out: pairs per second; how long a method takes.
"""

import time

import numpy as np
import pandas as pd

from reid_ray.config.datasets import Images
from reid_ray.config.matching import NETWORKS, Matching, Sift
from reid_ray.datasets.cutout import Row
from reid_ray.datasets.images import BadImage, Pixels, prepare_source, read_source
from reid_ray.matching.engine import Packed, use_one_thread
from reid_ray.matching.extract import extract, resized
from reid_ray.matching.scoring import References, score_views, settings_of
from reid_ray.studies.planning import matched_most, pair_count

PHOTOS, FEWEST = 32, 4
_LEAST_S = 0.3
_CAREFUL_S = 3600.0
"""A method that takes longer on this machine is worth a warning."""


def sample(rows: pd.DataFrame, images: Images) -> list[Pixels]:
    """A few of the photos, evenly spread over the table, prepared; those that cannot be read are left out."""
    found = []
    for at in np.unique(np.linspace(0, len(rows) - 1, PHOTOS, dtype=np.int64)).tolist() if len(rows) else ():
        row = Row.of(rows.iloc[at].to_dict())
        try:
            source = read_source(row.root, row.path, images=images, bbox=row.bbox, crop=row.kind(images))
            found.append(prepare_source(source, images=images))
        except BadImage:
            continue
    return found


def pairs_per_second(config: Matching, photos: list[Pixels]) -> float | None:
    """On one core; None where there are too few photos, or a network would have to be loaded."""
    networks = isinstance(config.verify, NETWORKS) or not isinstance(config.extractor, Sift)
    if networks or len(photos) < FEWEST:
        return None
    use_one_thread()
    features = extract([resized(photo, config.short_px) for photo in photos], config.extractor)
    packed, count = Packed.of(features), len(photos)
    searched = References(
        packed, np.arange(count), np.full(count, -1), features if config.verify is not None else None
    )
    views = [(settings_of(config)[0], np.eye(count, dtype=bool))]

    def match() -> None:
        score_views(packed, features, searched, config, views)

    match()  # compiles
    rounds, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < _LEAST_S:
        match()
        rounds += 1
    return rounds * count * count / took


def cost(config: Matching, rows: pd.DataFrame, rate: float, cpus: int) -> str:
    """How long a method takes on this machine, and what to do where that is long."""
    pairs = pair_count(rows, most=matched_most(config))
    chosen = choosing_pairs(config, rows)
    seconds = (pairs + chosen) / rate / cpus
    text = (
        f"  {config.name}: about {clock(seconds)} on {cpus} cores ({rate:,.0f} pairs/s each"
        f"{f', {chosen:,} pairs more to choose settings' if chosen else ''})"
    )
    if seconds > _CAREFUL_S and config.shortlist is None:
        text += "; a shortlist would match the most alike alone, `shortlist: {by: vlad, size: 100}`"
    return text


def choosing_pairs(config: Matching, rows: pd.DataFrame) -> int:
    """Pairs that leave-one-out queries of references compare, where there is anything to choose."""
    if len(settings_of(config)) == 1 and not config.alternatives:
        return 0
    most = matched_most(config)
    counts = rows.loc[rows["split"].eq("reference"), "dataset"].value_counts()
    asked = counts.clip(upper=config.leave_one_out_queries)
    return int((asked * (counts if most is None else counts.clip(upper=most))).sum()) * (
        1 + len(config.alternatives)
    )


def clock(seconds: float) -> str:
    """A duration as people say it."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(1, round(seconds))} seconds"

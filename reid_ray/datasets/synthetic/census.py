"""Decide who is photographed when and from which side, before anything is drawn.

In: the dataset's settings. Out: one `Shot` per photo, in the order of their dates.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

import numpy as np

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic.species import SPECIES, name_animals

MAIN_SIDE_SHARE = 0.8
"""Share of photos of the left flank: surveys keep to one side where they can."""

_FIRST_DAY = date(2021, 3, 1)
_DAYS = 1200


@dataclass(frozen=True)
class Shot:
    """One photo to be taken; `number` counts all shots of the collection by date, from 1."""

    number: int
    image_id: str
    animal: int
    identity: str
    orientation: Literal["left", "right"]
    date: str
    encounter: str
    place: int
    """Equal for shots before the same background."""
    repeats: bool = False
    """The same moment once more; it has the number of the shot that it repeats."""


def plan_shots(dataset: SyntheticDataset) -> list[Shot]:
    """Draw counts, dates and sides; but for repeats, no animal is photographed twice on one day,
    unless photos are taken `together`."""
    species = SPECIES[dataset.species]
    rng = np.random.default_rng([dataset.seed, species.number, 0])
    names = name_animals(species, dataset.identities, rng)
    taken: list[tuple[int, float, int]] = []
    for animal, count in enumerate(photo_counts(dataset.identities, dataset.photos, rng)):
        days = rng.choice(max(_DAYS, 2 * count), size=count, replace=False)
        taken += [(int(day), float(rng.random()), animal) for day in days]
    digits = max(4, len(str(len(taken))))
    shots = []
    for number, (day, _, animal) in enumerate(sorted(taken), start=1):
        mark = f"{number:0{digits}d}"
        shots.append(
            Shot(
                number=number,
                image_id=f"{dataset.species}-{mark}",
                animal=animal,
                identity=names[animal],
                orientation="left" if rng.random() < MAIN_SIDE_SHARE else "right",
                date=(_FIRST_DAY + timedelta(days=day)).isoformat(),
                encounter=f"{dataset.species}-e{mark}",
                place=number,
            )
        )
    shots = _together(shots, dataset.together)
    chosen = np.random.default_rng([dataset.seed, species.number, 1]).random(len(shots))
    repeats = [
        replace(shot, image_id=f"{shot.image_id}b", repeats=True)
        for shot, drawn in zip(shots, chosen, strict=True)
        if drawn < dataset.repeated
    ]
    return sorted(shots + repeats, key=lambda shot: shot.image_id)


def _together(shots: list[Shot], size: int) -> list[Shot]:
    """Each animal's shots in encounters of `size`, which are as the first shot of each says."""
    found = []
    for taken in by_animal(shots).values():
        for place, shot in enumerate(taken):
            first = taken[place - place % size]
            found.append(replace(shot, date=first.date, encounter=first.encounter, place=first.number))
    return sorted(found, key=lambda shot: shot.number)


def photo_counts(identities: int, mean: int, rng: np.random.Generator) -> list[int]:
    """Photos per animal: at least 2, the mean exactly `mean`, spread about a quarter of it."""
    counts = np.full(identities, mean)
    order = rng.permutation(identities)
    for more, less in zip(order[0::2], order[1::2], strict=False):
        moved = min(round(abs(rng.normal(0, 0.3 * mean))), mean - 2)
        counts[more] += moved
        counts[less] -= moved
    return [int(count) for count in counts]


def by_animal(shots: list[Shot]) -> dict[int, list[Shot]]:
    """Shots of each animal, so that it is painted once."""
    groups: dict[int, list[Shot]] = defaultdict(list)
    for shot in shots:
        groups[shot.animal].append(shot)
    return dict(sorted(groups.items()))

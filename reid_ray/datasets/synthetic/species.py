"""What each species is made of: body, coat, habitats, cameras, names of its animals; see species.yaml."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reid_ray.config.base import read_yaml
from reid_ray.datasets.synthetic import coats
from reid_ray.datasets.synthetic.bodies import Plan
from reid_ray.datasets.synthetic.coats import Growth, Painter
from reid_ray.datasets.synthetic.photo import Camera
from reid_ray.datasets.synthetic.scene import Habitat


@dataclass(frozen=True)
class Species:
    """A species as the synthetic collections draw it.

    Attributes:
        number: part of every seed, so that species never share randomness.
        photo_aspect: width by height of a photo.
        sides_by_turn: both flanks are in every photo and `orientation` says which one is turned to the
            camera (a fluke); otherwise the animal shows one flank and looks that way.
    """

    number: int
    plan: Plan
    growth: Growth
    paint: Painter
    habitats: tuple[Habitat, ...]
    camera: Camera
    photo_aspect: float
    code: str
    names: tuple[str, ...]
    sides_by_turn: bool = False


def _species(*, plan: dict[str, Any], photo_aspect: list[int], paint: str, **told: Any) -> Species:
    width, height = photo_aspect
    told |= {"growth": Growth(**told["growth"]), "camera": Camera(**_fixed(told["camera"]))}
    painter: Painter = getattr(coats, paint)
    return Species(plan=_plan(**plan), photo_aspect=width / height, paint=painter, **_fixed(told))


def _plan(half: list[Any] | None = None, **told: Any) -> Plan:
    if half:
        told["trunk"] = half + [(1 - x, y) for x, y in reversed(half[1:])]
    told["far"] = [_far(limb, told["near"]) for limb in told.get("far", [])]
    return Plan(**_fixed(told))


def _far(limb: Any, near: list[Any]) -> Any:
    if isinstance(limb, list):
        return limb
    (dx, dy), twin = limb["by"], near[limb["twin"]]
    return [(x + dx, y + dy, width * 0.85) for x, y, width in twin]


def _fixed(value: Any) -> Any:
    """Lists as tuples, so that nothing changes them."""
    if isinstance(value, dict):
        return {name: _fixed(one) for name, one in value.items()}
    return tuple(_fixed(one) for one in value) if isinstance(value, list | tuple) else value


SPECIES: dict[str, Species] = {
    name: _species(**told) for name, told in read_yaml(Path(__file__).with_suffix(".yaml")).items()
}


def name_animals(species: Species, count: int, rng: np.random.Generator) -> list[str]:
    """Names as field teams give them: some animals are named, others have a code; all differ."""
    digits = max(3, len(str(count)))
    codes = [f"{species.code}-{number + 1:0{digits}d}" for number in range(count)]
    named = rng.permutation(count)[: min(len(species.names), round(0.7 * count))]
    for position, which in enumerate(rng.permutation(len(species.names))[: len(named)]):
        codes[int(named[position])] = species.names[int(which)]
    return codes

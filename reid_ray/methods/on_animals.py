"""Leave keypoints of the background out. In: features of a gallery's photos. Out: those that are matched."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.datasets.cutout import painted
from reid_ray.matching.features import Features
from reid_ray.methods.animals import Animal
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery

_MASKS_PER_REQUEST = 64


@dataclass(frozen=True)
class BackgroundRequest:
    """Read where some photos show no animal: a damaged mask can end but a worker."""

    animals: tuple[tuple[int, Animal], ...]

    def run(self) -> dict[str, NDArray[np.bool_]]:
        """Masks by the photo's place, of those where something tells."""
        read = {str(place): one.background() for place, one in self.animals}
        return {place: one for place, one in read.items() if one is not None}


def on_animals(features: Features, gallery: Gallery, bench: Bench) -> Features:
    """Without the keypoints of painted parts, or outside the animal where the collection asks for that."""
    away = backgrounds(gallery, bench)
    if not gallery.painted.any() and not away:
        return features
    kept = []
    for at, photo in enumerate(gallery.photos):
        one = features.image(at)
        if gallery.painted[at]:
            one = one.outside(painted(bench.photo(int(photo))))
        kept.append(one.outside(away[at]) if at in away else one)
    return Features.pack(iter(kept))


def backgrounds(gallery: Gallery, bench: Bench) -> dict[int, NDArray[np.bool_]]:
    """By place in the gallery, of photos that are not matched whole."""
    each = list(gallery.animals.items())
    requests = {
        f"background-{at:08d}": BackgroundRequest(tuple(each[at : at + _MASKS_PER_REQUEST]))
        for at in range(0, len(each), _MASKS_PER_REQUEST)
    }
    return {int(place): mask for _, found, _ in bench.run(requests) for place, mask in found.items()}

"""Group photos of unknown animals by animal, and say what to expect of the groups.

In: photos that were given no name, a method. Out: a number per photo, and what was learnt.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.evaluation import grouping
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Gallery, Positions
from reid_ray.methods.ready import Learnt, Method

MOST_GROUPED = 4000
"""Unknown photos that are grouped; each is compared with each."""
POOR_ARI = 0.4
_SAMPLE = 200


def group_unknown(
    method: Method,
    learnt: Learnt,
    gallery: Gallery,
    rows: pd.DataFrame,
    unknown_q: Positions,
    bench: Bench,
    *,
    seed: int,
) -> tuple[NDArray[np.int64] | None, dict[str, Any], list[str]]:
    """A group per query, -1 where it is not unknown; what was learnt; sentences for the reader.

    Args:
        learnt: what the method has learnt on the gallery.
        unknown_q: places among the queries.

    Returns:
        None in place of groups where there are too many photos.
    """
    if len(unknown_q) > MOST_GROUPED:
        much = f"{len(unknown_q)} photos of unknown animals are too many to group, at most {MOST_GROUPED}"
        return None, {}, [much]
    sampled = _sample(gallery, seed)
    unknown = gallery.references + unknown_q
    known_encounters = bool((gallery.encounters[unknown] >= 0).any())
    # Where new photos' encounters are not known, it is learnt without, as it will be used.
    rule = grouping.learn(
        _pairs(method, learnt, rows, gallery.photos[sampled], bench),
        np.unique(gallery.labels[sampled], return_inverse=True)[1],
        gallery.encounters[sampled] if known_encounters else None,
        seed=seed,
    )
    groups = np.full(len(gallery.queries), -1, np.int64)
    if len(unknown_q):
        pairs = _pairs(method, learnt, rows, gallery.photos[unknown], bench)
        groups[unknown_q] = rule.groups(pairs, gallery.encounters[unknown])
    notes = []
    if rule.ari < POOR_ARI:
        notes.append(
            "photos of unknown animals are hard to group here: known animals, grouped in the same way, "
            f"agree with the truth to {rule.ari:.2f} (1 is perfect, 0 is chance), so take the groups as hints"
            + ("" if known_encounters else "; which photos were taken together (encounter) would help most")
        )
    facts = {
        "ari": None if np.isnan(rule.ari) else rule.ari,
        "ari_encounters": rule.ari_encounters,
        "cut": rule.cut,
        "photos": len(sampled),
    }
    return groups, facts, notes


def _sample(gallery: Gallery, seed: int) -> Positions:
    """Reference photos of whole animals, at most `_SAMPLE` and one animal more."""
    names, animal_g = np.unique(gallery.labels_g, return_inverse=True)
    animals = np.random.default_rng(seed).permutation(len(names))
    sizes = np.bincount(animal_g, minlength=len(names))[animals]
    taken = animals[: int(np.searchsorted(np.cumsum(sizes), _SAMPLE)) + 1]
    return np.flatnonzero(np.isin(animal_g, taken))


def _pairs(
    method: Method, learnt: Learnt, rows: pd.DataFrame, photos: Positions, bench: Bench
) -> NDArray[np.float32]:
    """How alike each photo is to each other, float32 [1, n, n]."""
    none = np.zeros(0, np.int64)
    among = Gallery.of(rows, photos, none, name="unknown", merged=True)
    ready = method.prepare([among], bench, learnt={among.fingerprint: learnt})[0]
    return ready.between(bench, np.arange(len(photos)))[None]

"""Choose what a method leaves open on the reference set alone. In: references. Out: a setting.

Leave-one-out: each reference photo is looked up among all the others, once for all settings. The
best setting names most identities rightly; where several photos share the highest score, the
look-up counts as right in proportion to those of the right identity. Of equally good settings the
first is taken: the strictest threshold, the fewest neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.datasets.encounters import same_encounter
from reid_ray.matching.scoring import References, Setting, left_out, score_settings, settings_of
from reid_ray.matching.shortlist import candidates, nearest_first

BLOCK = 4
"""References looked up at once; their scores [s, BLOCK, g] are all that is held."""


@dataclass(frozen=True)
class Tuned:
    """The chosen setting, and the leave-one-out top-1 (0..1) of every candidate."""

    setting: Setting
    top1: tuple[float, ...]
    looked_up: int

    @property
    def best(self) -> float:
        """Leave-one-out top-1 of the chosen setting, to nine digits; 0 where none was needed."""
        return round(max(self.top1, default=0.0), 9)


def sample(count: int, *, most: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `most` of `count` references, ascending, drawn without replacement."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False)).astype(np.int64)


def choose(references: References, config: Matching) -> Tuned:
    """Best of the config's settings; at most `config.tuning_lookups` references are looked up."""
    lookups = sample(len(references.packed), most=config.tuning_lookups, seed=config.seed)
    right = right_per_setting(references, config, lookups)[0]
    return best_of(settings_of(config), right, len(lookups))


def must_not_answer(
    references: References,
    config: Matching,
    lookups: NDArray[np.int64],
    hidden_g: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which references are left out of which look-up, bool [l, g]: itself, those that `hidden_g`
    says, and its own encounter, in the first where the config leaves it out, in the second always.
    """
    encounters_l = references.encounters_g[lookups]
    first = left_out(encounters_l, references, config)
    second = same_encounter(encounters_l, references.encounters_g)
    for out_lg in (first, second):
        out_lg[np.arange(len(lookups)), lookups] = True
        if hidden_g is not None:
            out_lg |= hidden_g
    return first, second


def right_per_setting(
    references: References,
    config: Matching,
    lookups: NDArray[np.int64],
    *,
    vectors_gd: NDArray[np.floating] | None = None,
    hidden_g: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """How many of `lookups` each of `settings_of(config)` names rightly, float64 [2, s]; blocks add
    up.

    The first row is among the references that the config leaves in, the second among those of other
    encounters. Behind a shortlist, which is not searched a second time, both are the first.

    Args:
        vectors_gd: embeddings of the references: each is looked up behind the config's shortlist.
        hidden_g: references that never answer.
    """
    settings = settings_of(config)
    right = np.zeros((2, len(settings)))
    if config.shortlist is not None and vectors_gd is not None:
        for at in lookups:
            right += _right_behind(references, config, settings, int(at), vectors_gd, hidden_g)
        return right
    for at in range(0, len(lookups), BLOCK):
        block = lookups[at : at + BLOCK]
        outs = must_not_answer(references, config, block, hidden_g)
        looking = references.packed.take(block)
        scores_vsqg = score_settings(looking, references, config, settings, outs)
        for q, position in enumerate(block):
            same_g = references.identities_g == references.identities_g[position]
            for v, out_qg in enumerate(outs):
                right[v] += _right(scores_vsqg[v, :, q], same_g, ~out_qg[q])
    return right


def _right_behind(
    references: References,
    config: Matching,
    settings: Sequence[Setting],
    lookup: int,
    vectors_gd: NDArray[np.floating],
    hidden_g: NDArray[np.bool_] | None,
) -> NDArray[np.float64]:
    """As `_right`, of one look-up among its candidates."""
    assert config.shortlist is not None
    own = np.array([lookup])
    out_qg, _ = must_not_answer(references, config, own, hidden_g)
    order_qg = nearest_first(vectors_gd[own], vectors_gd)
    chosen = np.sort(candidates(order_qg, out_qg, config.shortlist.size)[0])
    few, none_out = references.take(chosen), np.zeros((1, len(chosen)), bool)
    scores_vsqg = score_settings(references.packed.take(own), few, config, settings, [none_out])
    same = references.identities_g[chosen] == references.identities_g[lookup]
    return _right(scores_vsqg[0, :, 0], same, ~none_out[0])


def _right(
    scores_sg: NDArray[np.float64], same_g: NDArray[np.bool_], others_g: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Chance, per setting, that the best of the others is of the same identity."""
    if not (same_g & others_g).any():
        return np.zeros(len(scores_sg))
    others_sg = scores_sg[:, others_g]
    best_sg = others_sg == others_sg.max(axis=1, keepdims=True)
    share: NDArray[np.float64] = best_sg[:, same_g[others_g]].sum(axis=1) / best_sg.sum(axis=1)
    return share


def best_of(settings: Sequence[Setting], right: NDArray[np.float64], looked_up: int) -> Tuned:
    """The first setting with the most right; chances are compared to nine digits."""
    best = int(np.argmax(np.round(right, 9)))
    return Tuned(settings[best], tuple(float(v) / max(looked_up, 1) for v in right), looked_up)

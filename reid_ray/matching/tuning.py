"""Which of a method's settings name references rightly. In: references that are asked. Out: shares.

The best setting names most identities rightly; where several photos share the highest score, an asked
reference counts as right in proportion to those of the right identity. Of equally good settings the
first is taken: the strictest threshold, the fewest neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Matching
from reid_ray.matching.scoring import References, Setting, score_settings, settings_of
from reid_ray.matching.shortlist import candidates

BLOCK = 4
"""References asked at once; their scores [s, BLOCK, g] are all that is held."""


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


def right_per_setting(
    references: References,
    config: Matching,
    asked: NDArray[np.int64],
    outs: Sequence[NDArray[np.bool_]],
    *,
    silent: Sequence[NDArray[np.bool_]] | None = None,
    orders: Sequence[NDArray[np.int64]] | None = None,
) -> NDArray[np.float64]:
    """How likely each of `settings_of(config)` names each of `asked` rightly, float64 [v, l, s].

    Behind a shortlist, which is not searched a second time, the second view is the first.

    Args:
        asked: positions of references.
        outs: per view, the references that are as if they were not there, bool [l, g].
        silent: per view, those that must not answer, bool [l, g]; None: `outs`.
        orders: per view, all references in the order of the config's shortlist, int64 [l, g]: each is asked
            behind it.
    """
    settings = settings_of(config)
    right = np.zeros((len(outs), len(asked), len(settings)))
    if config.shortlist is not None and orders is not None:
        for v, (out, order) in enumerate(zip(outs, orders, strict=True)):
            for row, own in enumerate(asked.tolist()):
                if v == 1:  # its candidates would be others, to be matched once more
                    right[v, row] = right[0, row]
                    continue
                chosen = candidates(order[row : row + 1], out[row : row + 1], config.shortlist.size)[0]
                right[v, row] = _right_behind(references, config, settings, own, np.sort(chosen))
        return right
    for at in range(0, len(asked), BLOCK):
        block = slice(at, at + BLOCK)
        few, mute = ([out[block] for out in some] for some in (outs, silent or outs))
        scores_vsqg = score_settings(references.packed.take(asked[block]), references, config, settings, few)
        for q, position in enumerate(asked[block]):
            same_g = references.identities_g == references.identities_g[position]
            for v, out_qg in enumerate(mute):
                right[v, at + q] = _right(scores_vsqg[v, :, q], same_g, ~out_qg[q])
    return right


def _right_behind(
    references: References,
    config: Matching,
    settings: Sequence[Setting],
    asked: int,
    chosen: NDArray[np.int64],
) -> NDArray[np.float64]:
    """As `_right`, of one reference among its candidates, ascending."""
    few, none_out = references.take(chosen), np.zeros((1, len(chosen)), bool)
    packed = references.packed.take(np.array([asked]))
    scores_vsqg = score_settings(packed, few, config, settings, [none_out])
    same = references.identities_g[chosen] == references.identities_g[asked]
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

"""How often, and by what, a training is judged on the way.

In: what is asked of the encoder. Out: the epochs after which it is asked.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from reid_ray.config.training import Trial
from reid_ray.embedding.model import Encoder

Row = dict[str, float]

MOST_SHARE = 0.1
"""Of the time in training that validation takes at most, by the photos that pass the network."""
_PASSES = 3
"""That training takes for a photo, a backward pass counted as two."""


@dataclass(frozen=True)
class Validation:
    """Figures on a slice of the reference set, never on the query set.

    Attributes:
        figures: called on every rank; what it gives is used on rank 0.
        photos: how many it embeds.
        rungs: epochs, from 1, after which it is asked for a search that compares trials, though nothing is
            chosen by it.
    """

    figures: Callable[[Encoder], Row]
    photos: int = 0
    rungs: frozenset[int] = frozenset()

    def every(self, trial: Trial, photos: int) -> int:
        """Epochs between validations.

        It is settled by counts and not by the clock: which epoch is chosen, or ends a training, then depends
        neither on the machine nor on how many workers share the work, nor on where a resumed one was killed.

        Args:
            photos: that an epoch of training passes through the network.
        """
        if trial.validate_every != "auto":
            return trial.validate_every
        return max(1, math.ceil(self.photos / (_PASSES * photos * MOST_SHARE)))


NO_VALIDATION = Validation(lambda _: {})

"""Decide which epoch's weights a training keeps, and whether it goes on.

In: validation figures on a slice of the reference set. Out: the chosen weights.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from reid_ray.config.training import Trial

CRITERION = "val/top1"


@dataclass
class Selection:
    """The epoch chosen so far.

    Attributes:
        epoch: 1-based; 0 before the first validation.
        validation: its figures.
        best: the highest validation top-1 so far; -1 before there is one.
        stale: validations since then.
        weights: of the chosen epoch, on the CPU; None where they are simply the model's.
    """

    trial: Trial
    epoch: int = 0
    validation: dict[str, float] = field(default_factory=dict)
    best: float = -1.0
    stale: int = 0
    weights: dict[str, Tensor] | None = None

    def see(self, epoch: int, validation: dict[str, float], model: nn.Module) -> None:
        """Take note of a validation; the earlier epoch wins a tie."""
        score = validation.get(CRITERION)
        better = score is not None and score > self.best
        self.stale = 0 if better or score is None else self.stale + 1
        if better and score is not None:
            self.best = score
        if better or score is None or self.trial.select == "last":
            self.epoch, self.validation = epoch, dict(validation)
            if self.trial.select == "best":
                self.weights = {
                    name: value.detach().cpu().clone() for name, value in model.state_dict().items()
                }

    @property
    def stop(self) -> bool:
        """Whether patience is at its end."""
        return self.trial.patience is not None and self.stale >= self.trial.patience

    def apply(self, model: nn.Module) -> None:
        """Give the model the chosen weights."""
        if self.weights is not None:
            model.load_state_dict(self.weights)

    def state(self) -> dict[str, Any]:
        """All but the weights, as plain data for a checkpoint."""
        return {"epoch": self.epoch, "validation": self.validation, "best": self.best, "stale": self.stale}

    def restore(self, state: dict[str, Any], weights: dict[str, Tensor] | None) -> None:
        """Go on from a checkpoint."""
        self.epoch, self.validation = int(state["epoch"]), dict(state["validation"])
        self.best, self.stale, self.weights = float(state["best"]), int(state["stale"]), weights

"""Learn what a method's scores are worth, on the references alone. In: a ready method. Out: a probability
model, a threshold, and how true they are.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_ray.errors import DatasetError
from reid_ray.evaluation.open_set import choose_threshold
from reid_ray.evaluation.quality import UNKNOWN_SHARE
from reid_ray.methods import probability
from reid_ray.methods.bench import Bench
from reid_ray.methods.gallery import Positions
from reid_ray.methods.leave_one_out import LeaveOneOut, leave_one_out
from reid_ray.methods.probability import Probability
from reid_ray.methods.ready import Learnt, Ready

FEWEST_FRESH = 20
"""Fewer reference photos that a network was not trained on are too few to learn from."""


@dataclass(frozen=True)
class Asked:
    """How references are asked.

    Attributes:
        looks: scores per animal that the model takes: 1, the best photo's, as a study measures its
            methods, or 2, with the mean of the best two, which names more (`reports/identify.md`).
        queries: at most so many references are asked.
        unknown_share: share of new photos (0..1) that are expected to show an unknown animal.
        candidates: animals listed per query.
    """

    looks: int = 1
    queries: int = 500
    unknown_share: float = UNKNOWN_SHARE
    candidates: int = 5
    seed: int = 0


@dataclass(frozen=True)
class Worth:
    """What was learnt.

    Attributes:
        model: None where too few references were found again.
        threshold: score below which an answer is nobody; NaN where none can be chosen.
        facts: how often references were found again, reliability and skill, for people; {} without model.
        note: a sentence for people, "" where all is well.
    """

    model: Probability | None = None
    threshold: float = float("nan")
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data, for a file."""
        return {
            "probability": None if self.model is None else self.model.as_json(),
            "threshold": None if np.isnan(self.threshold) else self.threshold,
            "facts": self.facts,
            "note": self.note,
        }

    @classmethod
    def of(cls, learnt: Learnt) -> "Worth":
        """From what `as_json` gave; nothing learnt where it is not there."""
        raw, threshold = learnt.get("probability"), learnt.get("threshold")
        return cls(
            None if raw is None else Probability.from_json(raw),
            float("nan") if threshold is None else float(threshold),
            dict(learnt.get("facts", {})),
            str(learnt.get("note", "")),
        )


def learn_worth(
    ready: Ready, bench: Bench, how: Asked, *, together: NDArray[np.int64] | None = None
) -> Worth:
    """Ask references among the others, and fit.

    Args:
        together: int64 [g], equal for references that are asked as one; None: each by itself.
    """
    bench.tell("references asked among the others")
    asked = leave_one_out(ready, bench, most=how.queries, seed=how.seed, fewest=FEWEST_FRESH)
    if not len(asked.asked):
        note = "no animal has two reference photos that can be compared, so there are no probabilities"
        return Worth(note=note)
    known, withheld, own = _joined(asked, how.looks, together)
    threshold = choose_threshold(asked.leave_one_out_queries())
    shared = {"unknown_share": how.unknown_share, "most": how.candidates}
    try:
        model = probability.fit(known, withheld, own, **shared)  # type: ignore[arg-type]
    except DatasetError as error:
        return Worth(None, threshold, {}, f"there are no probabilities: {error}")
    crossed = probability.cross_fitted(known, withheld, own, seed=how.seed, **shared)  # type: ignore[arg-type]
    facts = {
        "leave_one_out_queries": len(own),
        "photos_queried": len(asked.asked),
        "found_again": float(probability.answers_right(crossed[0], own).mean()),
        "first_right": float((crossed[0].identity_qc[:, 0] == own).mean()),
        "unknown_noticed": float((crossed[1].answer_q == -1).mean()),
        "reliability": probability.reliability(*crossed, own, unknown_share=how.unknown_share),
        "skill": probability.skill(*crossed, own, unknown_share=how.unknown_share),
        "unknown_share": how.unknown_share,
    }
    note = ""
    if asked.biased:
        note = (
            f"a network was trained on {int(ready.gallery.trained.sum())} of {ready.gallery.references} "
            "reference photos, and the others are too few to learn from: probabilities are too high"
        )
    return Worth(model, threshold, facts, note)


def _joined(
    asked: LeaveOneOut, looks: int, together: NDArray[np.int64] | None
) -> tuple[NDArray[np.floating], NDArray[np.floating], Positions]:
    """Scores [m, q, i] while the own animal is there and while it is not, and the own animals."""
    known, withheld = asked.known.scores[:looks], asked.withheld.scores[:looks]
    if together is None:
        return known, withheld, asked.own
    _, first, of = np.unique(together[asked.asked], return_index=True, return_inverse=True)
    return probability.together(known, of), probability.together(withheld, of), asked.own[first]

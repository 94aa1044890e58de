"""Say in words which method is best, and how sure that is. In: methods. Out: sentences with
figures.

Who is compared was settled before the query photos were asked: every baseline, and the one trial
that was chosen on validation photos.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reid_ray.evaluation.intervals import Best, best_of_several, bootstrap_mean, paired_by_animal
from reid_ray.evaluation.metrics import DOMAINS, known_only
from reid_ray.reporting.pooled import TRAINED, Method, candidates, chance_of

SIGNIFICANT = 0.05
_DRAWS_SEED = 0
"""Intervals of differences are drawn with a fixed seed, so that a report made twice is the same."""


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same query photos.

    Attributes:
        difference: top-1 of the better minus the other, in 0..1.
        low, high: 95 % interval of it, animals resampled whole.
        p: mid-p of McNemar's test over animals, two-sided, not adjusted for several comparisons.
    """

    better: str
    other: str
    difference: float
    low: float
    high: float
    p: float
    queries: int

    @property
    def significant(self) -> bool:
        """Both the paired test and the interval over animals must say so."""
        return self.p < SIGNIFICANT and self.low > 0

    @property
    def odds(self) -> str:
        return "p < 0.001" if self.p < 0.001 else f"p = {self.p:.2g}"

    @property
    def outcome(self) -> str:
        """What follows the names of both: `by 12.5 points (95 % interval 1.0 to 24.0, p = 0.03, 96
        query photos)`."""
        points = f"{100 * self.difference:.1f}"
        low, high = (f"{100 * end:.1f}".replace("-", "\u2212") for end in (self.low, self.high))
        where = f"(95 % interval {low} to {high}, {self.odds}, {self.queries} query photos)"
        if self.significant:
            return f"by {points} points {where}"
        return f"{points} points apart {where}"

    def __str__(self) -> str:
        if self.difference == 0:
            both = f"{self.better} and {self.other}"
            return f"{both} are right equally often ({self.queries} query photos)"
        if self.significant:
            return f"{self.better} beats {self.other} {self.outcome}"
        return f"{self.better} and {self.other} do not differ significantly: {self.outcome}"


@dataclass(frozen=True)
class DomainVerdict:
    """The best method on one domain, against whom it was tested, and what guessing would give.

    Attributes:
        corrected: top-1 of the best, less what it owes to being the best on these very queries; None
            where it was alone.
        among: so many methods it is the best of.
    """

    domain: str
    best: Method
    comparisons: tuple[Comparison, ...]
    chance: float | None
    corrected: Best | None = None
    among: int = 1

    def figure(self, measure: str) -> float:
        return self.best.figures[f"{self.domain}/{measure}"]


def compare(a: Method, b: Method, domain: str) -> Comparison | None:
    """Compare on the queries of a domain that both answered; None where there is none."""
    if a.predictions is None or b.predictions is None:
        return None
    left = a.predictions[a.predictions["domain"] == domain]
    both = left.merge(b.predictions[["query", "correct"]], on="query", suffixes=("", "_b"))
    if both.empty:
        return None
    right_a, right_b = both["correct"].to_numpy(bool), both["correct_b"].to_numpy(bool)
    if right_b.sum() > right_a.sum():
        return compare(b, a, domain)
    gain = right_a.astype(float) - right_b
    animals = both["dataset"].astype(str) + "\0" + both["identity"].astype(str)
    low, high = bootstrap_mean(gain, np.random.default_rng(_DRAWS_SEED), clusters=animals)
    p = paired_by_animal(gain, animals)
    return Comparison(a.name, b.name, float(gain.mean()), low, high, p, len(both))


def domain_verdicts(methods: Sequence[Method]) -> list[DomainVerdict]:
    """Per domain with candidates: the best, against the runner-up and the best of another kind."""
    verdicts = []
    for domain in DOMAINS:
        standing = candidates(methods, domain)
        if not standing:
            continue
        best, *others = standing
        rivals = others[:1]
        if rivals and _kind(rivals[0]) == _kind(best):
            rivals += [other for other in others if _kind(other) != _kind(best)][:1]
        found = [compare(best, rival, domain) for rival in rivals]
        comparisons = tuple(one for one in found if one is not None)
        corrected, among = _corrected(methods, standing, domain)
        chance = chance_of(methods, domain)
        verdicts.append(DomainVerdict(domain, best, comparisons, chance, corrected, among))
    return verdicts


def _corrected(methods: Sequence[Method], standing: Sequence[Method], domain: str) -> tuple[Best | None, int]:
    """What the best of all whom these queries decided among is worth, and how many these are."""
    rivals = list(standing)
    if not any("val/top1" in method.figures for method in methods):  # queries chose the trial, too
        rivals += [one for one in methods if one.is_trial and one.finished and one not in rivals]
    right = [
        known_only(one.predictions[one.predictions["domain"] == domain]).set_index("query")
        for one in rivals
        if one.predictions is not None
    ]
    right = [table for table in right if len(table)]
    if len(right) < 2:
        return None, len(right)
    same = right[0].index
    for table in right[1:]:
        same = same.intersection(table.index)
    if not len(same):
        return None, len(right)
    values = np.stack([table.loc[same, "correct"].to_numpy(float) for table in right])
    first = right[0].loc[same]
    animals = first["dataset"].astype(str) + "\0" + first["identity"].astype(str)
    return best_of_several(values, animals, np.random.default_rng(_DRAWS_SEED)), len(right)


def rival_lines(method: Method, methods: Sequence[Method]) -> list[str]:
    """How the selected method stands on the query photos: who beats it, who is as good, who is second.

    One sentence per domain.
    """
    lines = []
    for domain in DOMAINS:
        others = [one for one in candidates(methods, domain) if one.name != method.name]
        if f"{domain}/top1" not in method.figures or not others:
            continue
        found = [(one, compare(method, one, domain)) for one in others]
        level = [one for one, pair in found if pair is not None and not pair.significant]
        ahead = [one for one, pair in found if pair and pair.significant and pair.better == one.name]
        where = f"On {domain} species"
        if ahead:
            lines.append(f"{where}, {_named(ahead, domain)} did better on the query photos.")
        elif level:
            lines.append(f"{where}, {_named(level, domain)} cannot be told apart from it.")
        else:
            lines.append(f"{where}, the next is {_named(others[:1], domain)}.")
    return lines


def _named(methods: Sequence[Method], domain: str) -> str:
    """The first two with their figures, and how many more."""
    said = [f"{one.name} ({100 * one.figures[f'{domain}/top1']:.1f} %)" for one in methods[:2]]
    if len(methods) > 2:
        said.append(f"{len(methods) - 2} more")
    return " and ".join([", ".join(said[:-1]), said[-1]] if len(said) > 1 else said)


def choice_sentence(study: dict[str, Any]) -> str:
    """How the method to use was selected, and whether the query photos had a part in it."""
    share = validation_share(study)
    if share is None:
        return "The settings do not say how the method to use was selected."
    if share > 0:
        return (
            "The method to use was selected among all by its accuracy on validation photos "
            f"({100 * share:.3g} % of the reference photos, kept out of training); "
            "the query photos had no part in the choice."
        )
    return (
        "No validation photos were set aside, so the method to use was selected by the query photos "
        "themselves; its figure is therefore optimistic."
    )


def passed_over(methods: Sequence[Method], domain: str = "seen") -> Method | None:
    """A trial that did better on the query photos than the chosen one, if any."""
    name = f"{domain}/top1"
    trials = [m for m in methods if m.is_trial and m.finished and name in m.figures]
    chosen = [m for m in trials if m.chosen]
    if not chosen:
        return None
    best = max(trials, key=lambda m: m.figures[name])
    return best if best.figures[name] > chosen[0].figures[name] else None


def validation_share(study: dict[str, Any]) -> float | None:
    try:
        share = float(study["config"]["data"]["split"]["validation_share"])
    except (KeyError, TypeError, ValueError):
        return None
    return share if math.isfinite(share) else None


def _kind(method: Method) -> str:
    """Trained models are one kind, whatever their loss."""
    return "trained" if method.family in TRAINED else method.family

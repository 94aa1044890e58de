"""Simulate how often 95 % intervals hold the truth, for collections like those at hand.

    python benchmarks/interval_coverage.py --data ../shared/data [--studies 2000]

Animals are drawn from a population in which some are easier to name than others (Beta, correlation within
an animal 0.05 to 0.3), each with as many query photos as an animal of the collection has; photos of one
encounter may all be right or wrong together. The truth is the share over the whole population. Prints
Markdown tables: the share of simulated studies whose interval holds the truth, for one figure and for
the best of several methods of equal worth.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.evaluation.intervals import animals_mean, best_of_several, bootstrap_mean, wilson

Sizes = NDArray[np.int64]
Interval = Callable[[NDArray[np.float64], Sizes], tuple[float, float]]


def by_wilson(right: NDArray[np.float64], _: Sizes) -> tuple[float, float]:
    return wilson(float(right.sum()), len(right))


def by_bootstrap(right: NDArray[np.float64], animals: Sizes) -> tuple[float, float]:
    return bootstrap_mean(right, np.random.default_rng(0), clusters=animals, draws=500)


INTERVALS: dict[str, Interval] = {
    "Wilson over photos (before)": by_wilson,
    "animals drawn (percentiles)": by_bootstrap,
    "over animals (now)": animals_mean,
}


def one_study(
    sizes: Sizes, share: float, within: float, pairs: bool, rng: np.random.Generator
) -> tuple[NDArray[np.float64], Sizes]:
    """Whether each photo is named rightly, and its animal."""
    drawn = rng.choice(sizes, len(sizes))
    strength = 1 / within - 1
    chance = rng.beta(share * strength, (1 - share) * strength, len(sizes))
    animals = np.repeat(np.arange(len(sizes)), drawn)
    luck = rng.random(len(animals))
    if pairs:  # the second photo of an encounter has the fate of the first
        inside = np.concatenate([np.arange(count) for count in drawn])
        luck = np.where(inside % 2 == 1, np.roll(luck, 1), luck)
    return (luck < chance[animals]).astype(float), animals


def sizes_of(data: Path) -> dict[str, Sizes]:
    """Query photos per animal."""
    lion = pd.read_csv(data / "LionData" / "metadata.csv", dtype=str)
    nyala = pd.read_csv(data / "NyalaDev" / "metadata.csv", dtype=str)
    queries = lion[lion["split"] == "test"]
    whole = nyala["identity"].value_counts().to_numpy(np.int64)
    return {
        "LionData, 155 queries": queries["identity"].value_counts().to_numpy(np.int64),
        "NyalaDev, a fifth": np.maximum(whole // 5, 1),
        "NyalaDev, all": whole,
        "quickstart": np.full(48, 2, np.int64),
    }


def figures(data: Path, studies: int) -> None:
    print("| collection | animals | right | within an animal | " + " | ".join(INTERVALS) + " |")
    print("|---|---|---|---|" + "---|" * len(INTERVALS))
    for name, sizes in sizes_of(data).items():
        for share, within in ((0.15, 0.1), (0.4, 0.05), (0.4, 0.3), (0.75, 0.2)):
            rng = np.random.default_rng(0)
            held = np.zeros(len(INTERVALS))
            for _ in range(studies):
                right, animals = one_study(sizes, share, within, name.startswith("Nyala"), rng)
                for place, interval in enumerate(INTERVALS.values()):
                    low, high = interval(right, animals)
                    held[place] += low <= share <= high
            cells = [f"{100 * one / studies:.1f}" for one in held]
            print(f"| {name} | {len(sizes)} | {share} | {within} | {' | '.join(cells)} |", flush=True)


def best(data: Path, studies: int) -> None:
    """The best by the queries of n methods that are alike to a degree, and equally good or not."""
    print("\n| collection | methods | of worth | too high by | corrected | covered before | covered now |")
    print("|---|---|---|---|---|---|---|")
    for name, sizes in sizes_of(data).items():
        for count, spread in ((6, 0.0), (72, 0.0), (72, 0.03)):
            rng = np.random.default_rng(0)
            found = []
            for _ in range(studies):
                right, animals, truth = several(sizes, 0.4 + spread * rng.standard_normal(count), rng)
                first = int(right.mean(axis=1).argmax())
                plain = right[first].mean()
                low, high = by_wilson(right[first], animals)
                now = best_of_several(right, animals, np.random.default_rng(0), draws=300)
                worth = truth[first]
                found.append(
                    (plain - worth, now.value - worth, low <= worth <= high, now.low <= worth <= now.high)
                )
            bias, left, before, after = 100 * np.mean(found, axis=0)
            told = "equal" if not spread else f"within {100 * spread:.0f} points"
            print(
                f"| {name} | {count} | {told} | {bias:+.1f} | {left:+.1f} | {before:.1f} | {after:.1f} |",
                flush=True,
            )


def several(
    sizes: Sizes, worth: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.bool_], Sizes, NDArray[np.float64]]:
    """Whether each method names each photo: photos and animals are hard for all of them alike to a degree."""
    drawn = rng.choice(sizes, len(sizes))
    animals = np.repeat(np.arange(len(sizes)), drawn)
    photos = len(animals)
    hard = 0.5 * rng.standard_normal(len(sizes))[animals] + 0.6 * rng.standard_normal(photos)
    own = 0.6245 * rng.standard_normal((len(worth), photos))  # all variances add up to 1
    from scipy.stats import norm

    worth = np.clip(worth, 0.02, 0.98)
    return hard + own < norm.ppf(worth)[:, None], animals, worth


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--studies", type=int, default=2000)
    given = parser.parse_args()
    figures(given.data, given.studies)
    best(given.data, max(given.studies // 5, 100))


if __name__ == "__main__":
    main()

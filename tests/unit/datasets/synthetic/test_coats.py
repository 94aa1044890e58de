"""Coats are individual: they differ between animals and between flanks, and depend on nothing
else."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from reid_ray.datasets.synthetic.bodies import Body, draw_body
from reid_ray.datasets.synthetic.coats import Pattern, grow_patterns
from reid_ray.datasets.synthetic.species import SPECIES

ALL_SPECIES = tuple(SPECIES)


def drawn(name: str, seeds: list[int]) -> tuple[Body, list[Pattern]]:
    species = SPECIES[name]
    patterns = grow_patterns(seeds, species.growth, height=species.plan.height)
    return draw_body(species.plan, width_px=160), patterns


def likeness(first: NDArray[np.float32], second: NDArray[np.float32], body: Body) -> float:
    """Correlation of brightness inside the body, shape and shade from top to bottom taken out."""
    inside = body.alpha > 0.9
    rows = np.nonzero(inside)[0]

    def details(image: NDArray[np.float32]) -> NDArray[np.float64]:
        grey = image[..., :3].mean(axis=2)[inside].astype(np.float64)
        means = np.bincount(rows, grey) / np.maximum(np.bincount(rows), 1)
        return np.asarray(grey - means[rows])

    return float(np.corrcoef(details(first), details(second))[0, 1])


@pytest.mark.parametrize("name", ALL_SPECIES)
def test_another_animal_has_another_coat_on_the_same_body(name: str) -> None:
    body, patterns = drawn(name, [1, 2, 3, 4])
    painted = [SPECIES[name].paint(body, pattern, 0) for pattern in patterns]
    pairs = [likeness(a, b, body) for i, a in enumerate(painted) for b in painted[:i]]
    assert np.mean(pairs) < 0.45
    assert max(pairs) < 0.7


@pytest.mark.parametrize("name", [name for name in ALL_SPECIES if not SPECIES[name].sides_by_turn])
def test_the_two_flanks_are_as_different_as_two_animals(name: str) -> None:
    body, patterns = drawn(name, [1, 2, 3, 4, 5, 6])
    flanks = [[SPECIES[name].paint(body, pattern, side) for side in (0, 1)] for pattern in patterns]
    across = np.mean([likeness(left, right, body) for left, right in flanks])
    between = np.mean([likeness(flanks[i][0], flanks[j][0], body) for i in range(6) for j in range(i)])
    assert across == pytest.approx(between, abs=0.15)


def test_the_two_lobes_of_a_fluke_differ() -> None:
    body, patterns = drawn("whale", list(range(8)))
    likes = []
    for pattern in patterns:
        painted = SPECIES["whale"].paint(body, pattern, 0)
        likes.append(likeness(painted, painted[:, ::-1], body))
    assert np.mean(likes) < 0.5


@pytest.mark.parametrize("name", ALL_SPECIES)
def test_an_animal_looks_the_same_whoever_is_grown_beside_it(name: str) -> None:
    body, alone = drawn(name, [7])
    _, among = drawn(name, [3, 7, 5])
    first, second = (SPECIES[name].paint(body, pattern, 1) for pattern in (alone[0], among[1]))
    assert np.abs(first - second).max() < 1e-3


def test_any_two_species_differ_clearly_in_colour_or_in_outline() -> None:
    """Shares that overlap: of the colour histogram (4 x 4 x 4 bins) and of the outline (IoU)."""
    looks = {}
    for name in ALL_SPECIES:
        body, patterns = drawn(name, [1, 2, 3])
        inside = body.alpha > 0.9
        colours = np.concatenate([SPECIES[name].paint(body, p, 0)[inside][:, :3] for p in patterns])
        histogram = np.histogramdd(colours, 4, [(0, 1)] * 3)[0].ravel() / len(colours)
        outline = np.zeros((200, 160), bool)
        outline[: inside.shape[0]] = inside
        looks[name] = histogram, outline
    for name, other in combinations(ALL_SPECIES, 2):
        (colour, outline), (their_colour, their_outline) = looks[name], looks[other]
        colour_share = float(np.minimum(colour, their_colour).sum())
        outlines = float((outline & their_outline).sum() / (outline | their_outline).sum())
        assert colour_share < 0.6 or outlines < 0.6, (name, other, colour_share, outlines)

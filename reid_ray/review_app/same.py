"""Put photos of unknown animals together by what people said of pairs. In: verdicts, names. Out: groups, and
where the verdicts contradict each other or the names.

If A and B are one animal, and B and C, then A and C are. A verdict is never overruled: where the others imply
the opposite of it, that is a contradiction, which somebody has to resolve.
"""

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

SAME, DIFFERENT, UNSURE = "same", "different", "unsure"
UNKNOWN = "unknown"


class Contradiction(NamedTuple):
    """What cannot all be true.

    Attributes:
        chain: photos of which each is the same animal as the next, by verdicts.
        why: what speaks against its ends being one animal, in words.
        photos: all whose names are in doubt until it is resolved.
        opposed: the pair that was found different, where that speaks against it.
    """

    chain: tuple[str, ...]
    why: str
    photos: frozenset[str]
    opposed: tuple[str, str] | None = None


Pair = tuple[str, str]


def key_of(one: str, other: str) -> Pair:
    """The pair, whichever was named first."""
    return (one, other) if one <= other else (other, one)


def groups_of(photos: Iterable[str], verdicts: Mapping[Pair, str]) -> list[tuple[str, ...]]:
    """Photos of one animal together, in the order of the first of each."""
    near = _neighbours(verdicts)
    found: list[tuple[str, ...]] = []
    met: set[str] = set()
    for photo in photos:
        if photo not in met:
            part = _reached(photo, near)
            met |= set(part)
            found.append(tuple(part))
    return found


def apart(one: Sequence[str], other: Sequence[str], verdicts: Mapping[Pair, str]) -> bool:
    """Whether some pair of two groups was found to be different animals: then all are."""
    return any(verdicts.get(key_of(a, b)) == DIFFERENT for a in one for b in other)


def contradictions(verdicts: Mapping[Pair, str], names: Mapping[str, str]) -> list[Contradiction]:
    """All of them.

    Args:
        names: by photo, the animal that was decided on, or `UNKNOWN`; photos without a decision have none.
    """
    near, found = _neighbours(verdicts), []
    groups = groups_of(near, verdicts)
    group_of = {photo: group for group in groups for photo in group}
    for group in groups:
        found += _of_names(group, near, names)
    for (one, other), verdict in verdicts.items():
        if verdict != DIFFERENT:
            continue
        own, others = group_of.get(one, (one,)), group_of.get(other, (other,))
        if own == others:
            chain = _chain(one, other, near)
            found.append(
                Contradiction(chain, f"{one} and {other} were found different", frozenset(own), (one, other))
            )
        elif both := _names_of(own, names) & _names_of(others, names) - {UNKNOWN}:
            why = f"{one} and {other} were found different, and both are called {', '.join(sorted(both))}"
            found.append(Contradiction((one,), why, frozenset((*own, *others)), (one, other)))
    return found


def _of_names(
    group: Sequence[str], near: Mapping[str, Sequence[str]], names: Mapping[str, str]
) -> list[Contradiction]:
    """A group with two names, of which `UNKNOWN` is one: who is it?"""
    first: dict[str, str] = {}
    for photo in group:
        if photo in names:
            first.setdefault(names[photo], photo)
    if len(first) < 2:
        return []
    (name, one), *rest = sorted(first.items(), key=lambda item: item[0] == UNKNOWN)
    called = {UNKNOWN: "was said to show nobody known"}
    return [
        Contradiction(
            _chain(one, photo, near),
            f"{one} is called {name}, and {photo} {called.get(other, f'is called {other}')}",
            frozenset(group),
        )
        for other, photo in rest
    ]


def _names_of(group: Collection[str], names: Mapping[str, str]) -> set[str]:
    return {names[photo] for photo in group if photo in names}


def _neighbours(verdicts: Mapping[Pair, str]) -> dict[str, list[str]]:
    """By photo, which others were found to show the same animal."""
    near: dict[str, list[str]] = {}
    for (one, other), verdict in verdicts.items():
        if verdict == SAME:
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    return near


def _reached(start: str, near: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """All photos that verdicts lead to, each with the one before it, the nearest first."""
    before, waiting = {start: start}, deque([start])
    while waiting:
        photo = waiting.popleft()
        for other in near.get(photo, ()):
            if other not in before:
                before[other] = photo
                waiting.append(other)
    return before


def _chain(one: str, other: str, near: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The fewest verdicts from one to the other."""
    before, found = _reached(one, near), [other]
    while found[-1] != one:
        found.append(before[found[-1]])
    return tuple(reversed(found))

"""Compare photos of unknown animals, two at a time, until those of one animal are together.

In: photos that people said show nobody known, of all batches, and their verdicts on pairs (`pairs.jsonl`).
Out: the next pair, groups, contradictions. Groups get a name by a decision of a person, never by inference.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reid_ray.errors import StorageError
from reid_ray.review_app import regions
from reid_ray.review_app.decisions import Journal, Signed
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.same import (
    SAME,
    UNKNOWN,
    UNSURE,
    Contradiction,
    Pair,
    apart,
    contradictions,
    groups_of,
    key_of,
)

_BETWEEN = "\t"
VERDICTS = "pairs.jsonl"


@dataclass(frozen=True)
class Photo:
    """A photo of an unknown animal, or one that a verdict is about.

    Attributes:
        key: `<batch>/<path>`.
        group: what `identify` put together, of one batch; None: nothing.
        like: probabilities of known animals: what looks alike to them is alike.
        mates: keys of the photos of its encounter, which show the same animal.
    """

    key: str
    facts: Mapping[str, str]
    group: int | None
    like: Mapping[str, float]
    mates: tuple[str, ...]

    @property
    def batch(self) -> str:
        return self.key.partition("/")[0]

    @property
    def path(self) -> str:
        return self.key.partition("/")[2]


@dataclass(frozen=True)
class Unknown:
    """All of them, at one moment."""

    batches: Batches

    @property
    def journal(self) -> Journal:
        return Journal(self.batches.folder, VERDICTS)

    @cached_property
    def verdicts(self) -> dict[Pair, str]:
        """What people said; and that photos of one encounter that one answer was about, and photos of a new
        animal of one name, show one animal."""
        said = {pair_of(text): what for text, what in self.journal.holds().items()}
        together: dict[Pair, str] = {}
        last: dict[str, str] = {}
        for one in self.photos.values():
            together |= {key_of(one.key, mate): SAME for mate in one.mates if mate != one.key}
            if (name := self.names.get(one.key, UNKNOWN)) != UNKNOWN:
                if name in last:
                    together[key_of(last[name], one.key)] = SAME
                last[name] = one.key
        return together | said

    @cached_property
    def signed(self) -> dict[Pair, Signed]:
        """Who said what on which pair, and when."""
        return {pair_of(text): one for text, one in self.journal.signed().items()}

    @cached_property
    def names(self) -> dict[str, str]:
        """By photo that was decided on: who it is, or `UNKNOWN`."""
        return {
            f"{batch}/{path}": what.removeprefix("is:")
            for batch in self.batches.names()
            for path, what in self.batches.decisions(batch).items()
        }

    @cached_property
    def photos(self) -> dict[str, Photo]:
        """By key, of batches whose answers can be read, in the order of batches and cards: of nobody known,
        of animals that are none of the batch's known ones, and those that a verdict is about."""
        asked_about = {key for text in self.journal.holds() for key in pair_of(text)}
        found: dict[str, Photo] = {}
        for batch in reversed(self.batches.names()):
            if self.batches.state(batch) != "done":
                continue
            try:
                answered = self.batches.answers(batch)
            except StorageError:  # told on the batch's own page
                continue
            known = {one["identity"] for card in answered.cards for one in card["candidates"]}
            known |= {one["identity"] for one in answered.known.values()}
            new = {
                key for key, name in self.names.items() if key.startswith(f"{batch}/") and name not in known
            } | asked_about
            group_of = dict(zip(answered.answers.rows["path"], answered.answers.answers, strict=True))
            facts = {str(one["path"]): one for one in answered.answers.rows.to_dict("records")}
            for card in answered.cards:
                paths = regions.paths_of(card)
                like = {one["identity"]: one["probability"] or 0.0 for one in card["candidates"]}
                wanted = [path for path in paths if f"{batch}/{path}" in new]
                mates = tuple(f"{batch}/{path}" for path in wanted)
                for path in wanted:
                    told = {
                        str(name): str(value)
                        for name, value in facts[path].items()
                        if name != "path" and value
                    }
                    found[f"{batch}/{path}"] = Photo(
                        f"{batch}/{path}", told, group_of[path].group, like, mates
                    )
        return found

    @cached_property
    def groups(self) -> list[tuple[str, ...]]:
        """Photos that show one animal, the largest groups first."""
        return sorted(groups_of(self.photos, self.verdicts), key=lambda group: -len(group))

    @cached_property
    def contradictions(self) -> list[Contradiction]:
        return contradictions(self.verdicts, self.names)

    def in_doubt(self) -> frozenset[str]:
        """Photos whose names no table may have before the contradictions are resolved."""
        return frozenset(photo for one in self.contradictions for photo in one.photos)

    def pairs(self) -> list[Pair]:
        """Pairs of groups of which nobody said whether they are one animal, the likeliest first; each by the
        two photos that compare best. Those that somebody was not sure of come last.
        """
        named = {photo for photo, name in self.names.items() if name != UNKNOWN}
        groups = [[self.photos[key] for key in group if key in self.photos] for group in self.groups]
        found = []
        for place, one in enumerate(groups):
            for other in groups[:place]:
                keys = [photo.key for photo in one], [photo.key for photo in other]
                if apart(*keys, self.verdicts) or (named & {*keys[0]} and named & {*keys[1]}):
                    continue
                unsure = any(self.verdicts.get(key_of(a, b)) == UNSURE for a in keys[0] for b in keys[1])
                score, a, b = max((alike(a, b), a.key, b.key) for a in one for b in other)
                found.append((unsure, -score, key_of(a, b)))
        return [pair for _, _, pair in sorted(found)]

    def say(self, pair: Pair, verdict: str, *, reviewer: str, named: Sequence[str] = ()) -> None:
        """Keep a verdict; "" takes it back.

        Args:
            named: photos that get a name with it, as one of the groups has one.

        Raises:
            StorageError: it could not be kept.
        """
        text = text_of(pair)
        self.journal.save({text: verdict}, reviewer=reviewer, evidence={text: _BETWEEN.join(named)})

    def named_with(self, pair: Pair) -> list[str]:
        """Photos that got a name with a verdict, and still have one."""
        keys = self.signed[pair].evidence.split(_BETWEEN)
        return [key for key in keys if self.names.get(key, UNKNOWN) != UNKNOWN]

    def last(self) -> Pair | None:
        """The pair of the latest verdict that holds."""
        held = self.signed
        return max(held, key=lambda pair: held[pair].at) if held else None


def alike(one: Photo, other: Photo) -> float:
    """How much speaks for comparing two photos: more where `identify` put them together, they resemble the
    same known animals (cosine of the probabilities), and show the same side.
    """
    grouped = one.group is not None and one.group == other.group and one.batch == other.batch
    sides = one.facts.get("orientation", ""), other.facts.get("orientation", "")
    seen = 0.0 if not all(sides) else (0.5 if sides[0] == sides[1] else -0.5)
    return 2.0 * grouped + seen + _cosine(one.like, other.like)


def _cosine(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    length = math.sqrt(_dot(one, one) * _dot(other, other))
    return _dot(one, other) / length if length else 0.0


def _dot(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    return sum(value * other.get(name, 0.0) for name, value in one.items())


def text_of(pair: Pair) -> str:
    """A pair as the journal has it."""
    return _BETWEEN.join(key_of(*pair))


def pair_of(text: str) -> Pair:
    one, _, other = text.partition(_BETWEEN)
    return key_of(one, other)

"""Read what `identify` wrote about a batch. In: its folder of answers. Out: answers, cards, known photos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from reid_ray.errors import StorageError
from reid_ray.reporting.answers import Answer, Answers, answers_of
from reid_ray.runs import files

_FILES = ("answers.json", "cards.json", "known.json")


@dataclass(frozen=True)
class Answered:
    """What is said of a batch's photos.

    Attributes:
        cards: one per encounter, in the order of `encounters_of(answers)`.
        known: photos of known animals by row; none of batches that were named before this was kept.
    """

    answers: Answers
    cards: Sequence[Mapping[str, Any]]
    known: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)

    def with_cards(self, cards: Sequence[Mapping[str, Any]], answers: Sequence[Answer]) -> "Answered":
        """Other cards and answers of the same photos."""
        return replace(self, cards=tuple(cards), answers=replace(self.answers, answers=tuple(answers)))


def read_answered(folder: Path) -> Answered:
    """All of it; a folder that did not change is read once.

    Raises:
        StorageError: it is damaged.
    """
    changed = tuple((folder / name).stat().st_mtime_ns for name in _FILES if (folder / name).exists())
    return _read(folder, changed)


@lru_cache(maxsize=64)
def _read(folder: Path, _changed: tuple[int, ...]) -> Answered:
    cards = files.read_json(folder / "cards.json")
    try:
        answers = answers_of(files.read_json(folder / "answers.json"))
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{folder / 'answers.json'}: damaged ({error!r})") from None
    return Answered(answers, cards, _known(folder / "known.json"))


def _known(path: Path) -> dict[int, dict[str, Any]]:
    if not path.exists():
        return {}
    try:
        return {int(one["row"]): one for one in files.read_json(path)}
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"{path}: damaged ({error!r}); identify the photos again") from None

"""Ask again about photos of which a person drew the region that shows the animal.

In: regions that a batch's journal holds. Out: a folder per answer that was asked again, and its card and
answers in place of the first ones. What is to be asked is read off the folders, so it outlives the process;
and whoever takes a region back has the first answer again.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from reid_ray.datasets.images import MIN_SIDE_PX, BadImage, read_bytes, upright_size
from reid_ray.reporting.tables import to_plain_csv
from reid_ray.review_app.answered import Answered, read_answered
from reid_ray.review_app.decisions import Boxes
from reid_ray.runs import files

Card = Mapping[str, Any]
State = Literal["waiting", "done", "failed"]
MOST_PIXELS = 200_000_000


def pixels_of(folder: Path, path: str, shares: Sequence[float]) -> list[int]:
    """[x, y, width, height] in pixels of the upright photo, of one in shares of its sides.

    Raises:
        ValueError: no region, or one too small to show an animal; a sentence.
    """
    width, height = size_of(folder, path)
    left, top, right, bottom = (
        min(max(round(edge * side), 0), side)
        for edge, side in zip(
            (shares[0], shares[1], shares[0] + shares[2], shares[1] + shares[3]),
            (width, height, width, height),
            strict=True,
        )
    )
    if min(right - left, bottom - top) < MIN_SIDE_PX:
        raise ValueError(
            f"the region on {path} is {max(right - left, 0)} x {max(bottom - top, 0)} pixels of the photo; "
            f"draw one of at least {MIN_SIDE_PX} x {MIN_SIDE_PX}"
        )
    return [left, top, right - left, bottom - top]


def shares_of(folder: Path, path: str, box: Sequence[int]) -> list[float]:
    """The region in shares of the photo's sides; [] where the photo cannot be read."""
    try:
        width, height = size_of(folder, path)
    except ValueError:
        return []
    return [box[0] / width, box[1] / height, box[2] / width, box[3] / height]


def size_of(folder: Path, path: str) -> tuple[int, int]:
    """Width and height of a batch's photo, upright. ValueError: it cannot be read."""
    try:
        return upright_size(read_bytes(str(folder / "photos"), path), max_pixels=MOST_PIXELS)
    except BadImage as error:
        raise ValueError(f"{path}: {error}") from None


def drawn_on(card: Card, boxes: Boxes) -> Boxes:
    """The regions on a card's photos."""
    return {path: boxes[path] for path in paths_of(card) if path in boxes}


def paths_of(card: Card) -> list[str]:
    """All photos that a card's answer is about."""
    return [str(card["path"]), *(str(other["path"]) for other in card.get("more", ()))]


def folder_of(batch: Path, card: Card) -> Path:
    """Where a card is asked again."""
    return batch / "regions" / hashlib.sha256(str(card["path"]).encode()).hexdigest()[:16]


def state_of(batch: Path, card: Card, boxes: Boxes) -> State | None:
    """None where no region is drawn."""
    drawn, folder = drawn_on(card, boxes), folder_of(batch, card)
    if not drawn:
        return None
    try:
        if json.loads((folder / "asked.json").read_bytes()) != drawn:
            return "waiting"
    except (OSError, ValueError):
        return "waiting"
    if (folder / "failed.txt").exists():
        return "failed"
    return "done" if (folder / "answers" / "cards.json").exists() else "waiting"


def check(batch: Path, card: Card) -> None:
    """Keep why, where the answer is not about the photos that were asked."""
    cards = read_answered(folder_of(batch, card) / "answers").cards
    if len(cards) != 1 or set(paths_of(cards[0])) != set(paths_of(card)):
        fail(batch, card, "the photo could not be used with this region; draw another")


def begin(batch: Path, card: Card, boxes: Boxes, *, network: bool) -> list[str]:
    """Write what is to be asked; returns the words for `identify`.

    Args:
        network: whether a model looks: it is shown the region alone. Local features keep the photo whole, so
            that places in it mean what they mean in others, and match what lies in the region.
    """
    folder, drawn = folder_of(batch, card), drawn_on(card, boxes)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths, table = paths_of(card), folder / "photos.csv"
    cells = [json.dumps(drawn[path]) if path in drawn else "" for path in paths]
    files.write_bytes(table, to_plain_csv(pd.DataFrame({"path": paths, "bbox": cells})).encode())
    query: dict[str, Any] = {
        "source": "table",
        "name": "query",
        "root": str(batch / "photos"),
        "metadata": str(table),
    }
    query |= {"keypoints": "box", "columns": {"identity": ""}} | ({"crop": "bbox"} if network else {})
    config = folder / "asked.yaml"
    files.write_bytes(config, yaml.safe_dump({"query": query}).encode())
    files.write_json(folder / "asked.json", drawn)
    return [str(config), "--out", str(folder)]


def fail(batch: Path, card: Card, why: str) -> None:
    """Keep why it could not be answered, until it is asked for again."""
    folder_of(batch, card).mkdir(parents=True, exist_ok=True)
    (folder_of(batch, card) / "failed.txt").write_text(why, encoding="utf-8")


def why_failed(batch: Path, card: Card) -> str:
    return (folder_of(batch, card) / "failed.txt").read_text(encoding="utf-8")


def again(batch: Path, card: Card) -> None:
    """Put a card that failed into the queue once more."""
    (folder_of(batch, card) / "failed.txt").unlink(missing_ok=True)
    (folder_of(batch, card) / "asked.json").unlink(missing_ok=True)


def answered(batch: Path, first: Answered, boxes: Boxes) -> Answered:
    """The first answers, with those that were asked again in their places."""
    cards, told = list(first.cards), list(first.answers.answers)
    place_of = {str(path): place for place, path in enumerate(first.answers.rows["path"])}
    for number, card in enumerate(cards):
        if state_of(batch, card, boxes) != "done":
            continue
        new = read_answered(folder_of(batch, card) / "answers")
        cards[number] = _with_rows_of(new, first)
        for path, answer in zip(new.answers.rows["path"], new.answers.answers, strict=True):
            place = place_of[str(path)]
            told[place] = replace(answer, row=told[place].row, together=told[place].together)
    return first.with_cards(cards, told)


def _with_rows_of(new: Answered, first: Answered) -> dict[str, Any]:
    """The new card; its candidates' photos are known by their rows in the first table."""
    row_of = {(one["root"], one["path"]): row for row, one in first.known.items()}
    card = dict(new.cards[0])
    card["candidates"] = [
        {**one, "row": row_of.get(_photo(new.known.get(one.get("row"))))} for one in card["candidates"]
    ]
    return card


def _photo(known: Mapping[str, Any] | None) -> tuple[str, str]:
    return ("", "") if known is None else (known["root"], known["path"])

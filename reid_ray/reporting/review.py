"""Write pages on which people check who is in the photos. In: answers and photos. Out: HTML, no scripts.

Each query, or the queries of one encounter, stand beside their candidates, with date and site where
they are known, and, where local features looked, with the matched keypoints drawn. Pages hold some
dozens of them each, so that none grows beyond a few megabytes. Pictures are encoded anew, so no EXIF
goes along, and no coordinates.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from reid_ray.config.matching import Matching
from reid_ray.datasets.cutout import CROP
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.datasets.schema import ORIENTATION, SIDES
from reid_ray.matching.places import PlaceWeights
from reid_ray.methods.animals import animals_of
from reid_ray.reporting.answers import Answer, Answers, Candidate, encounters_of, finite, sections
from reid_ray.reporting.evidence import evidence
from reid_ray.reporting.gallery import MOST_LINES, draw_pair, jpeg
from reid_ray.reporting.html import environment, policy, style_sheet
from reid_ray.runs import files

Page = list[dict[str, Any]]
"""Sections of one page: anchor, title, how many photos in all, cards."""

EXPORTS = tuple((name, name) for name in ("answers.csv", "candidates.csv", "wildbook.csv", "answers.json"))
PER_PAGE = 40
QUERY_PX, CANDIDATE_PX = 320, 200
_RATIO = 0.6
_SHOWN = ("date", "location", "orientation", "encounter")


Card = Mapping[str, Any]
"""Everything a page shows of one query, or of the queries that got one answer together, as plain data."""


def write_review(answers: Answers, cards: Sequence[Card], out: Path) -> Path:
    """Write `index.html` and, beyond `PER_PAGE` photos, `page-2.html` and so on; returns the first."""
    pages = pages_of(answers, cards)
    names = ["index.html", *(f"page-{number}.html" for number in range(2, len(pages) + 1))]
    for number in range(len(pages)):
        text = review_page(answers, pages, number, names)
        files.write_bytes(out / names[number], text.encode("utf-8", "replace"))
    return out / names[0]


def review_page(
    answers: Answers,
    pages: Sequence[Page],
    number: int,
    names: Sequence[str],
    *,
    decisions: Mapping[str, str] | None = None,
    revision: int = 0,
    exports: Sequence[tuple[str, str]] = EXPORTS,
    decided: tuple[int, int] | None = None,
    refused: Sequence[str] = (),
    alerts: Sequence[str] = (),
    animals: Sequence[str] = (),
    typed: Mapping[str, str] | None = None,
    regions: Mapping[str, str] | None = None,
    css: str | None = None,
) -> str:
    """One page as text.

    Args:
        names: addresses of all pages.
        decisions: what was decided on photos by path, for a page with a form to decide; None: a page
            to look at.
        revision: of these decisions, which the form sends back.
        exports: (address, name) of what can be fetched.
        decided: (photos decided on, all photos) of this batch.
        refused: why files were not taken.
        alerts: sentences on what was not saved or is damaged.
        animals: names that are suggested.
        typed: by path, names that are to be confirmed.
        regions: by path, what has become of the regions that were drawn.
        css: the page's style sheet; None: the reports'.
    """
    css = style_sheet() if css is None else css
    return (
        environment()
        .get_template("review.html.j2")
        .render(
            css=Markup(css),  # our own file
            policy=policy(css, forms=decisions is not None),
            answers=answers,
            summary=_summary(answers),
            right=answers.right(),
            shown=pages[number],
            names=names,
            number=number,
            decisions=decisions,
            revision=revision,
            exports=exports,
            decided=decided,
            refused=refused,
            alerts=alerts,
            animals=animals,
            typed=typed or {},
            regions=regions or {},
        )
    )


def review_cards(
    answers: Answers,
    images: PreparedImages,
    *,
    matching: Matching | None,
    drawn: int,
    places: PlaceWeights | None = None,
) -> list[Card]:
    """One card per encounter, in the order of `encounters`.

    Args:
        images: photo i belongs to row i of `answers.rows`.
        matching: the local-feature method, whose matches are drawn; None draws none.
        drawn: candidates per query with a drawing.
        places: what its votes count by where they come from; None: all alike.
    """
    drawer = None if matching is None else Drawer(answers.rows, images, matching, places)
    return [_card(answers, encounter, images, drawer, drawn) for encounter in encounters_of(answers.answers)]


def pages_of(answers: Answers, cards: Sequence[Card]) -> list[Page]:
    """The cards of each page, by section."""
    return list(_pages(answers, cards))


def _pages(answers: Answers, cards: Sequence[Card]) -> Iterator[Page]:
    told = encounters_of(answers.answers)
    card_of = {id(photos[0]): card for photos, card in zip(told, cards, strict=True)}
    size_of = {id(photos[0]): len(photos) for photos in told}
    page: Page = []
    room = PER_PAGE
    for anchor, title, part in sections([photos[0] for photos in told]):
        left = [card_of[id(answer)] for answer in part]
        photos = sum(size_of[id(answer)] for answer in part)
        while left:
            page.append(
                {"anchor": anchor, "title": title, "total": len(part), "photos": photos, "cards": left[:room]}
            )
            left, room = left[room:], room - len(left[:room])
            if room == 0:
                yield page
                page, room = [], PER_PAGE
    if page or not answers.answers:
        yield page


def _summary(answers: Answers) -> list[dict[str, Any]]:
    """The key figures: how many photos are named, to be looked at, unknown."""
    found = {anchor: len(part) for anchor, _, part in sections(answers.answers)}
    groups = {answer.group for answer in answers.answers if answer.group is not None}
    return [
        {"label": "Named", "value": found.get("named", 0), "more": "probability 90 % or more"},
        {"label": "To be looked at", "value": found.get("look", 0), "more": "someone known, less sure"},
        {
            "label": "Not recognised",
            "value": found.get("unknown", 0),
            "more": f"perhaps {len(groups)} unknown {'animal' if len(groups) == 1 else 'animals'}"
            if groups
            else "no known animal",
        },
    ]


def _card(
    answers: Answers, encounter: Sequence[Answer], images: PreparedImages, drawer: "Drawer | None", drawn: int
) -> Card:
    answer, *others = encounter
    first = _photo(answers, answer, images, QUERY_PX)
    more = [_photo(answers, other, images, CANDIDATE_PX) for other in others]
    for other in more:  # what is the same for all need not be read again
        other["facts"] = [fact for fact in other["facts"] if fact not in first["facts"]]
    return {
        "text": answer.text,
        "identity": answer.identity,
        "probability": finite(answer.probability),
        "unknown": finite(answer.unknown),
        **first,
        "more": more,
        "candidates": [
            _candidate(answers, answer, candidate, images, drawer if place < drawn else None)
            for place, candidate in enumerate(answer.candidates)
        ],
    }


def _photo(answers: Answers, answer: Answer, images: PreparedImages, px: int) -> dict[str, Any]:
    """One of the photos that a card asks about."""
    return {
        "path": str(answers.rows["path"].iloc[answer.row]),
        "facts": _facts(answers, answer.row),
        "truth": answer.truth,
        "picture": _thumbnail(images, answer.row, px),
    }


def _facts(answers: Answers, row: int) -> list[tuple[str, str]]:
    values = answers.rows.iloc[row]
    return [(name, str(values[name])) for name in _SHOWN if name in values and str(values[name])]


def _candidate(
    answers: Answers, answer: Answer, candidate: Candidate, images: PreparedImages, drawer: "Drawer | None"
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "identity": candidate.identity,
        "probability": finite(candidate.probability),
        "path": "",
        "row": None if candidate.photo is None else int(candidate.photo),
        "facts": [],
        "picture": None,
        "pair": None,
        "matches": 0,
        "note": "",
    }
    if candidate.photo is None:
        return shown
    shown["path"] = str(answers.rows["path"].iloc[candidate.photo])
    shown["facts"] = _facts(answers, candidate.photo)
    shown["picture"] = _thumbnail(images, candidate.photo, CANDIDATE_PX)
    if drawer is not None:
        shown |= drawer.draw(answer.row if candidate.beside is None else candidate.beside, candidate.photo)
    return shown


class Drawer(NamedTuple):
    """Draws the matches that speak for an answer."""

    rows: pd.DataFrame
    images: PreparedImages
    matching: Matching
    places: PlaceWeights | None

    def draw(self, query: int, reference: int) -> dict[str, Any]:
        """`pair`, the picture; `matches` that count; a `note` where most do not."""
        side = str(self.rows[ORIENTATION].iloc[query]) if ORIENTATION in self.rows else ""
        found = evidence(
            self.images[query],
            self.images[reference],
            _RATIO,
            self.matching,
            places=self.places,
            side=SIDES.index(side) if side in SIDES else -1,
            cut=bool(CROP in self.rows and self.rows[CROP].iloc[query] == "mask"),
            away_q=self._background(query),
            away_r=self._background(reference),
        )
        lines = found.query[:MOST_LINES], found.reference[:MOST_LINES]
        pair = draw_pair(self.images[query], self.images[reference], *lines)
        return {"pair": _uri(jpeg(pair)), "matches": len(found.query), "note": found.note}

    def _background(self, row: int) -> NDArray[np.bool_] | None:
        """Where keypoints are not matched, as the collection asks for it."""
        found = animals_of(self.rows.iloc[[row]])
        return found[0].background() if found else None


def _thumbnail(images: PreparedImages, row: int, px: int) -> str:
    picture = Image.fromarray(images[row])
    picture.thumbnail((px, px), Image.Resampling.LANCZOS)
    return _uri(jpeg(picture))


def _uri(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"

"""Serve what the page shows that decides one pair at a time. In: a batch. Out: data, pictures, revisions.

The page's script asks for all answers once, for pictures as they are looked at, and sends each decision as
it is made. Pictures of photos are encoded anew unless the original is asked for.
"""

import base64
import hashlib
import io
import mimetypes
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL import Image

from reid_ray.datasets.images import BadImage, open_photo, read_bytes
from reid_ray.reporting.answers import Answers
from reid_ray.reporting.html import environment, policy
from reid_ray.review_app import confirmed, regions
from reid_ray.review_app.pages import MOST_NAME, PAGE, styles
from reid_ray.review_app.queue import Batches

SCRIPTS = ("saving.js", "pair.js", "region.js", "decide.js")
OTHER_SCRIPTS = ("same.js",)
_AS_THEY_ARE = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
"""Files that every browser shows."""
_FACTS = ("species", "orientation", "location", "encounter", "date")


def decide_page(name: str) -> str:
    """The page, which its script fills; without a script it leads to the page with forms."""
    css = styles("decide.css")
    rules = policy(css, forms=True, script=True)
    template = environment().get_template("decide.html.j2")
    return template.render(css=Markup(css), policy=rules, name=name, scripts=SCRIPTS)


def script(file: str) -> str:
    """One of ours, as it is; LookupError: no such."""
    if file not in (*SCRIPTS, *OTHER_SCRIPTS):
        raise LookupError(file)
    return (PAGE / file).read_text(encoding="utf-8")


def all_of(batches: Batches, name: str) -> dict[str, Any]:
    """What the script starts with: photos with candidates, known animals, decisions.

    Raises:
        StorageError: the batch's answers are damaged.
    """
    found = batches.answers(name)
    facts = _facts(found.answers)
    photos = batches.photos(name)
    listed = [
        {**_plain(number, card, facts, found.known), "there": card["path"] in photos}
        for number, card in enumerate(found.cards)
    ]
    listed.sort(key=lambda one: (one["unsure"], -(one["probability"] or 0.0)))
    animals: dict[str, list[dict[str, Any]]] = {}
    for row, one in found.known.items():
        animals.setdefault(one["identity"], []).append(
            {"row": row, "path": one["path"], "facts": one["facts"]}
        )
    refused = batches.refused(name)
    return {"name": name, "cards": listed, "animals": animals, "refused": refused, **state_of(batches, name)}


def state_of(batches: Batches, name: str) -> dict[str, Any]:
    """Decisions and regions with their revision, what was asked again, and all names that are in use."""
    journal, folder = batches.journal(name), batches.folder / name
    revision, again = journal.revision(), batches.asked_again(name)
    shown = [journal.boxes(), [path for path, state in again.items() if state == "done"]]
    return {
        "revision": revision,
        "decisions": journal.holds(revision),
        "boxes": {
            path: regions.shares_of(folder, path, box) for path, box in journal.boxes(revision).items()
        },
        "regions": again,
        "version": hashlib.sha256(repr(shown).encode()).hexdigest()[:12],
        "names": names_in_use(batches, name),
        "problems": journal.problems(),
    }


def names_in_use(batches: Batches, name: str) -> list[str]:
    """Known animals, candidates, and who was decided on in any batch."""
    known = batches.answers(name)
    found = {candidate["identity"] for card in known.cards for candidate in card["candidates"]}
    found |= {one["identity"] for one in known.known.values()}
    for batch in batches.names():
        found |= {what[3:] for what in batches.decisions(batch).values() if what.startswith("is:")}
    return sorted(found)


def decide(batches: Batches, name: str, sent: Mapping[str, Any]) -> dict[str, Any]:
    """Save decisions as the script sends them: `revision` that was shown, `decided` by path, and `boxes`,
    regions [x, y, width, height] in shares of the photo's sides, or [] for none.

    Returns:
        `state_of`, and `refused`: by path, what holds instead.

    Raises:
        ValueError: not such a message.
    """
    decided, boxes, shown = sent.get("decided"), sent.get("boxes", {}), sent.get("revision")
    if (
        not isinstance(decided, dict)
        or not isinstance(boxes, dict)
        or not isinstance(shown, int)
        or isinstance(shown, bool)
    ):
        raise ValueError("expected revision and decided; load the page again")
    photos = batches.photos(name)
    strange = [path for path, what in decided.items() if path not in photos or not _is_decision(what)]
    strange += [path for path, box in boxes.items() if path not in photos or not _is_box(box)]
    if strange:
        raise ValueError(
            f"{str(strange[0])[:200]}: no photo of this batch, or no decision; load the page again"
        )
    refused = confirmed.decide(batches, name, decided, shown=shown, boxes=boxes)
    return {**state_of(batches, name), "refused": refused}


def card_picture(batches: Batches, name: str, number: int, which: str) -> bytes:
    """A picture of a card: `asked`, `more-N`, `candidate-N` or `points-N`.

    Raises:
        LookupError: there is none.
    """
    cards = batches.answers(name).cards
    kind, _, place = which.partition("-")
    card = cards[number]
    at = int(place) if place.isdecimal() else 0
    uri = {
        "asked": lambda: card["picture"],
        "more": lambda: card["more"][at]["picture"],
        "candidate": lambda: card["candidates"][at]["picture"],
        "points": lambda: card["candidates"][at]["pair"],
    }[kind]()
    if not uri:
        raise LookupError(which)
    return base64.b64decode(uri.partition(",")[2])


def sent_photo(batches: Batches, name: str, path: str, *, px: int) -> tuple[bytes, str]:
    """A photo of the batch; (bytes, media type). LookupError: there is none."""
    if path not in batches.photos(name):
        raise LookupError(path)
    return _photo(str(batches.folder / name / "photos"), path, px)


def known_photo(batches: Batches, name: str, row: int, *, px: int) -> tuple[bytes, str]:
    """A known animal's photo by its row; (bytes, media type). LookupError: there is none."""
    one = batches.answers(name).known[row]
    return _photo(one["root"], one["path"], px)


def _photo(root: str, path: str, px: int) -> tuple[bytes, str]:
    """`px` of the longer side; 0: the original, where browsers show its format."""
    try:
        if not px and Path(path).suffix.lower() in _AS_THEY_ARE:
            return read_bytes(root, path), mimetypes.guess_type(path)[0] or "image/jpeg"
        picture = Image.fromarray(open_photo(root, path, max_pixels=regions.MOST_PIXELS))
    except BadImage as error:
        raise LookupError(f"{path}: {error}") from None
    if px:
        picture.thumbnail((px, px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=88)
    return buffer.getvalue(), "image/jpeg"


def _is_decision(what: object) -> bool:
    return isinstance(what, str) and (
        what in ("", "unknown") or (what.startswith("is:") and 0 < len(what[3:].strip()) <= MOST_NAME)
    )


def _is_box(box: object) -> bool:
    """Four shares of the photo's sides, or none."""
    return isinstance(box, list) and (
        not box
        or (
            len(box) == 4
            and all(
                isinstance(one, int | float) and not isinstance(one, bool) and -1 <= one <= 2 for one in box
            )
        )
    )


def _plain(
    number: int, card: Mapping[str, Any], facts: Mapping[str, Any], known: Mapping[int, Any]
) -> dict[str, Any]:
    return {
        "card": number,
        "path": card["path"],
        "paths": regions.paths_of(card),
        "identity": card["identity"],
        "probability": card["candidates"][0]["probability"] if card["candidates"] else None,
        "unknown": card["unknown"],
        "unsure": card["identity"] is None,
        "facts": facts.get(card["path"], {}),
        "each": [facts.get(path, {}) for path in regions.paths_of(card)],
        "truth": card.get("truth"),
        "candidates": [
            {
                **{key: one[key] for key in ("identity", "probability", "path", "matches")},
                "facts": dict(one["facts"]),
                "note": one.get("note", ""),
                "row": one.get("row") if one.get("row") in known else None,
                "picture": bool(one["picture"]),
                "points": bool(one["pair"]),
            }
            for one in card["candidates"]
        ],
    }


def _facts(answers: Answers) -> dict[str, dict[str, str]]:
    found = {}
    for values in answers.rows.to_dict("records"):
        found[str(values["path"])] = {
            name: str(values[name]) for name in _FACTS if name in values and str(values[name])
        }
    return found

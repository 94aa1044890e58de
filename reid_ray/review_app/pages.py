"""The server's pages and what their forms say. In: batches. Out: HTML; decisions by path."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reid_ray.reporting.html import environment, policy, style_sheet
from reid_ray.reporting.review import pages_of, review_page
from reid_ray.review_app.decisions import Decisions
from reid_ray.review_app.queue import CONFIRMED, FOR_SPREADSHEETS, Batches

PAGE = Path(__file__).parent / "page"
MOST_NAME = 200
"""Characters of an animal's name that is typed."""


def start_page(batches: Batches, *, most: int) -> str:
    """All batches, and a form for more; `most` files at a time."""
    names = batches.names()
    shown = [(name, batches.state(name), _count(batches, name)) for name in names]
    return render(
        "server.html.j2",
        batches=shown,
        problems=[problem for name in names for problem in batches.journal(name).problems()],
        forms=True,
        refresh=0,
        most=most,
        kept=str(batches.folder / CONFIRMED),
        spreadsheet=FOR_SPREADSHEETS,
    )


def waiting_page(batches: Batches, name: str, *, state: str, damaged: str = "") -> str:
    """How far a batch is, or why it failed; `damaged`: what is wrong with its answers."""
    failed = state == "failed"
    return render(
        "waiting.html.j2",
        reason=damaged or (batches.why_failed(name) if failed else ""),
        name=name,
        state=state,
        log=[] if damaged else [line for line in batches.log(name) if not line.startswith("error: ")],
        forms=failed,
        refresh=0 if failed else 3,
    )


def problem_page(sentence: str) -> str:
    """Why something was refused, and the way back."""
    return render("problem.html.j2", sentence=sentence, forms=False, refresh=0)


def batch_page(
    batches: Batches,
    name: str,
    page: int,
    *,
    animals: Sequence[str] = (),
    refused: Mapping[str, str] | None = None,
    doubtful: Mapping[str, str] | None = None,
) -> str:
    """Answers with a form to decide.

    Args:
        animals: names in use.
        doubtful: by path, names that were typed and that nobody has.
        refused: decisions that were not saved, as somebody else had decided: by path, what holds.

    Raises:
        StorageError: the batch's answers are damaged.
    """
    found = batches.answers(name)
    answers, pages = found.answers, pages_of(found.answers, found.cards)
    journal = batches.journal(name)
    revision = journal.revision()
    meanwhile = [
        f"{path}: another page saved {_said(what)} after this one was opened, so your decision was not "
        "saved; decide again if it is wrong"
        for path, what in (refused or {}).items()
    ]
    meanwhile += [
        f"{path}: no animal is called “{typed}”{near_names(typed, animals)}, so this was not saved; "
        "correct it, or tick “a new animal” and save again"
        for path, typed in (doubtful or {}).items()
    ]
    return review_page(
        answers,
        pages,
        min(max(page, 1), len(pages)) - 1,
        [f"./?page={place + 1}" for place in range(len(pages))],
        decisions=journal.holds(revision),
        revision=revision,
        exports=[
            (CONFIRMED, CONFIRMED),
            (FOR_SPREADSHEETS, "the same for spreadsheets"),
            ("../../", "all batches"),
        ],
        decided=_count(batches, name),
        regions=batches.asked_again(name),
        css=styles(),
        refused=batches.refused(name),
        alerts=meanwhile + journal.problems(),
        animals=animals,
        typed=doubtful,
    )


def decided_in(
    form: Mapping[str, Any], photos: set[str], animals: Sequence[str]
) -> tuple[Decisions, dict[str, str]]:
    """Decisions on photos of this batch; a name that was typed counts before a choice.

    Returns:
        What was decided, and by path the names that were typed and that nobody has: they count only where
        it was said that the animal is new, as a typo would make one.
    """
    decided, doubtful = {}, {}
    for path in photos:
        if path in form:
            decided[path] = str(form[path])[: MOST_NAME + 3]
        if typed := " ".join(str(form.get(f"other:{path}", "")).split())[:MOST_NAME]:
            known = name_typed(typed, animals)
            if known or f"new:{path}" in form:
                decided[path] = f"is:{known or typed}"
            else:
                doubtful[path] = typed
                decided.pop(path, None)
    told = {
        path: what
        for path, what in decided.items()
        if what in ("", "unknown") or (what.startswith("is:") and len(what) > 3)
    }
    return told, doubtful


def name_typed(typed: str, animals: Sequence[str]) -> str | None:
    """The animal that is meant, whatever its case; None where nobody is called so."""
    same = {name.casefold(): name for name in reversed(animals)}
    return typed if typed in animals else same.get(typed.casefold())


def near_names(typed: str, animals: Sequence[str]) -> str:
    """Which animals may be meant, in words; "" where none is near."""
    near = difflib.get_close_matches(typed, animals, 3, 0.5)
    return f" (known are {', '.join(near)})" if near else ""


def of_all_photos(decided: Decisions, cards: Sequence[Mapping[str, Any]]) -> Decisions:
    """What was decided on a card's first photo holds for those that it shows together with it."""
    for card in cards:
        for other in card.get("more", ()):
            if card["path"] in decided:
                decided[other["path"]] = decided[card["path"]]
    return decided


def _said(what: str) -> str:
    return {"": "no decision", "unknown": "nobody known"}.get(what, what[3:])


def _count(batches: Batches, name: str) -> tuple[int, int]:
    """(decided, photos)."""
    return len(batches.decisions(name)), len(batches.photos(name))


def styles(*sheets: str) -> str:
    """The reports' style sheet, with what forms need, and other files beside it."""
    own = [(PAGE / sheet).read_text(encoding="utf-8") for sheet in ("forms.css", *sheets)]
    return "\n".join([style_sheet(), *own])


def render(
    template: str, *sheets: str, forms: bool, refresh: int, script: bool = False, **values: Any
) -> str:
    """A page of the server: `forms` may go to it; `script`: its own script may run, and pictures come from
    it; `refresh` seconds, 0 for none."""
    css = styles(*sheets)
    return (
        environment()
        .get_template(template)
        .render(css=Markup(css), policy=policy(css, forms=forms, script=script), refresh=refresh, **values)
    )

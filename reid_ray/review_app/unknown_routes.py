"""The pages on unknown animals and on confirmed encounters. In: forms. Out: HTML, verdicts, names."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from reid_ray.review_app import confirmed
from reid_ray.review_app.pages import name_typed, near_names, render
from reid_ray.review_app.pairs import names_in_use
from reid_ray.review_app.queue import Batches
from reid_ray.review_app.same import DIFFERENT, SAME, UNKNOWN, UNSURE, Contradiction, key_of
from reid_ray.review_app.unknown import Unknown

VERDICTS = (SAME, DIFFERENT, UNSURE, "")
_SHOWN = 60
"""Groups on the page; further ones follow once these are smaller in number."""


def add_unknown(made: FastAPI, batches: Batches) -> None:
    """Add them."""

    @made.get("/unknown")
    def page(later: int = 0) -> Response:
        return HTMLResponse(unknown_page(batches, later=max(later, 0)))

    @made.post("/unknown/verdict")
    async def verdict(request: Request) -> Response:
        form = await _form(request)
        now = Unknown(batches)
        pair = _known(now, form.get("one", "")), _known(now, form.get("other", ""))
        if (said := form.get("verdict", "-")) not in VERDICTS or pair[0] == pair[1]:
            raise HTTPException(400, "no verdict on two photos; load the page again")
        name = form.get("all", "") if said == SAME else ""
        both = [key for group in now.groups if {*pair} & {*group} for key in group]
        named = [key for key in both if name and now.names.get(key) == UNKNOWN]
        now.say(pair, said, reviewer=batches.reviewer, named=named)
        confirmed.decide_group(batches, named, f"is:{name}")
        return RedirectResponse("/unknown", 303)

    @made.post("/unknown/undo")
    def undo() -> Response:
        if last := (now := Unknown(batches)).last():
            named = now.named_with(last)
            now.say(last, "", reviewer=batches.reviewer)
            confirmed.decide_group(batches, named, UNKNOWN)
        return RedirectResponse("/unknown", 303)

    @made.post("/unknown/name")
    async def name(request: Request) -> Response:
        form = await _form(request)
        now = Unknown(batches)
        group = next((group for group in now.groups if form.get("group") in group), None)
        if group is None:
            raise HTTPException(400, "no such group any more; load the page again")
        if "nobody" in form:
            confirmed.decide_group(batches, group, UNKNOWN)
            return RedirectResponse("/unknown", 303)
        animals = _animals(batches)
        typed = _fresh(animals) if "fresh" in form else " ".join(form.get("name", "").split())
        known = name_typed(typed, animals)
        if not typed or (known is None and not {"new", "fresh"} & set(form)):
            said = f"no animal is called “{typed}”{near_names(typed, animals)}"
            said += ": correct it, or tick “a new animal”"
            return HTMLResponse(unknown_page(batches, problem=said if typed else "give a name"), 400)
        confirmed.decide_group(batches, group, f"is:{known or typed}")
        return RedirectResponse("/unknown", 303)

    @made.get("/encounters")
    def encounters() -> Response:
        table = confirmed.encounters(batches)
        doubt = Unknown(batches).in_doubt()
        return HTMLResponse(
            render(
                "confirmed.html.j2",
                "same.css",
                forms=True,
                refresh=0,
                encounters=table.to_dict("records"),
                exports=confirmed.EXPORTS,
                in_doubt=len(doubt),
            )
        )


def unknown_page(batches: Batches, *, later: int = 0, problem: str = "") -> str:
    """The pair that is asked about, and all groups.

    Args:
        later: how many likelier pairs are passed over.
    """
    now = Unknown(batches)
    pairs = now.pairs()
    later = min(later, max(len(pairs) - 1, 0))
    group_of = {photo: group for group in now.groups for photo in group}
    asked = [now.photos[key] for key in pairs[later]] if pairs else []
    both = [now.names.get(key, UNKNOWN) for one in asked for key in group_of[one.key]]
    names = {name for name in both if name != UNKNOWN}
    return render(
        "unknown.html.j2",
        "same.css",
        forms=True,
        script=True,
        refresh=0,
        asked=asked,
        beside=[[now.photos[key] for key in group_of[one.key] if key != one.key] for one in asked],
        named=next(iter(names)) if len(names) == 1 and UNKNOWN in both else "",
        left=len(pairs),
        later=later,
        groups=[_group(now, group) for group in now.groups[:_SHOWN]],
        count=len(now.groups),
        photos=len(now.photos),
        contradictions=[_contradiction(now, one) for one in now.contradictions],
        undoable=now.last() is not None,
        fresh=_fresh(_animals(batches)),
        animals=_animals(batches),
        problem=problem,
    )


def _group(now: Unknown, group: tuple[str, ...]) -> dict[str, Any]:
    names = {now.names[key] for key in group if key in now.names} - {UNKNOWN}
    return {
        "photos": [now.photos[key] for key in group if key in now.photos],
        "name": ", ".join(sorted(names)),
        "in_doubt": not now.in_doubt().isdisjoint(group),
    }


def _contradiction(now: Unknown, one: Contradiction) -> dict[str, Any]:
    """Its steps, with whoever took them and when."""
    steps = []
    for pair in zip(one.chain, one.chain[1:], strict=False):
        signed = now.signed.get(key_of(*pair))
        steps.append({"pair": pair, "by": signed.reviewer if signed else "", "said": signed is not None})
    return {"why": one.why, "steps": steps, "opposed": one.opposed}


def _animals(batches: Batches) -> list[str]:
    found: set[str] = set()
    for name in batches.names():
        if batches.state(name) == "done":
            found |= set(names_in_use(batches, name))
    return sorted(found)


def _fresh(animals: list[str]) -> str:
    """The next free name of a new animal, as the page for one photo has it."""
    used = {name.casefold() for name in animals}
    return next(f"new-{number}" for number in range(1, len(used) + 2) if f"new-{number}" not in used)


def _known(now: Unknown, key: str) -> str:
    if key not in now.photos:
        raise HTTPException(400, "no such photo; load the page again")
    return key


async def _form(request: Request) -> Mapping[str, str]:
    form = await request.form(max_files=0, max_fields=20)
    return {key: str(value)[:1000] for key, value in form.items()}

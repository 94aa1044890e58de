"""The addresses that the page for one pair at a time asks. In: requests. Out: what `pairs` makes."""

import json
from collections.abc import Callable

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from reid_ray.errors import StorageError
from reid_ray.review_app import pairs
from reid_ray.review_app.queue import Batches

_MOST_PX = 4000
_MOST_SENT = 4 << 20
"""Bytes of decisions at once: thousands of photos."""


def add_pairs(made: FastAPI, batches: Batches, known: Callable[[Batches, str], str]) -> None:
    """Add them; `known` gives a batch's name back or answers that there is none."""

    @made.get("/scripts/{file}")
    def script(file: str) -> Response:
        return _found(lambda: (pairs.script(file).encode(), "text/javascript"))

    @made.get("/batches/{name}/photos.json")
    def everything(name: str) -> Response:
        return JSONResponse(pairs.all_of(batches, known(batches, name)))

    @made.get("/batches/{name}/state.json")
    def state(name: str) -> Response:
        return JSONResponse(pairs.state_of(batches, known(batches, name)))

    @made.post("/batches/{name}/decide")
    async def decide(name: str, request: Request) -> Response:
        known(batches, name)
        body = await request.body()
        try:
            sent = json.loads(body) if len(body) <= _MOST_SENT else None
        except (ValueError, RecursionError):
            sent = None
        if not isinstance(sent, dict):
            raise HTTPException(400, "expected decisions; load the page again")
        try:
            return JSONResponse(pairs.decide(batches, name, sent))
        except ValueError as error:
            raise HTTPException(400, str(error)) from None

    @made.post("/batches/{name}/regions/again")
    async def region_again(name: str, path: str, page: int = 0) -> Response:
        batches.ask_again(known(batches, name), path)
        if page:  # from a form
            return RedirectResponse(f"/batches/{name}/?page={page}", 303)
        return JSONResponse(pairs.state_of(batches, name))

    _add_pictures(made, batches, known)


def _add_pictures(made: FastAPI, batches: Batches, known: Callable[[Batches, str], str]) -> None:
    @made.get("/batches/{name}/cards/{number}/{which}")
    def card(name: str, number: int, which: str) -> Response:
        known(batches, name)
        return _found(lambda: (pairs.card_picture(batches, name, max(number, 0), which), "image/jpeg"))

    @made.get("/batches/{name}/sent/{path}")
    def sent(name: str, path: str, px: int = 0) -> Response:
        known(batches, name)
        return _found(lambda: pairs.sent_photo(batches, name, path, px=min(max(px, 0), _MOST_PX)))

    @made.get("/batches/{name}/known/{row}")
    def reference(name: str, row: int, px: int = 0) -> Response:
        known(batches, name)
        return _found(lambda: pairs.known_photo(batches, name, row, px=min(max(px, 0), _MOST_PX)))


def _found(picture: Callable[[], tuple[bytes, str]]) -> Response:
    try:
        data, kind = picture()
    except (LookupError, ValueError, StorageError) as error:
        raise HTTPException(404, f"not found ({error})") from None
    return Response(data, media_type=kind)

"""Serve a small page on this machine: drop photos, see candidates, decide, take the names along.

In: photos and decisions that a browser sends. Out: pages, and what `Batches` keeps.

It listens on loopback alone and answers only to addresses of loopback and to who has its token (see `Door`).
"""

import asyncio
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse

from reid_ray.datasets.kinds import SUFFIXES, UNREAD
from reid_ray.errors import StorageError
from reid_ray.reporting.tables import to_csv, to_plain_csv
from reid_ray.review_app import confirmed
from reid_ray.review_app.decisions import LAST
from reid_ray.review_app.door import HEADERS, Door
from reid_ray.review_app.pages import (
    batch_page,
    decided_in,
    of_all_photos,
    problem_page,
    start_page,
    waiting_page,
)
from reid_ray.review_app.pair_routes import add_pairs
from reid_ray.review_app.pairs import decide_page, names_in_use
from reid_ray.review_app.queue import BATCH, CONFIRMED, FOR_SPREADSHEETS, Batches
from reid_ray.review_app.region_form import add_region_form
from reid_ray.review_app.unknown_routes import add_unknown

MOST_FILES = 500
MOST_FILE_BYTES = 64 << 20
MOST_BYTES = 2 << 30
"""Of one request: a little more than `MOST_FILES` ordinary photos."""


def app(batches: Batches, door: Door | None = None) -> FastAPI:
    """The server's pages, for who comes through the door."""
    door = door or Door(MOST_BYTES)

    @asynccontextmanager
    async def life(_: FastAPI) -> Any:
        task = asyncio.create_task(batches.work())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    made = FastAPI(title="reid_ray review", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)

    @made.middleware("http")
    async def only_ours(request: Request, call_next: Any) -> Any:
        response = door.refusal(request) or await call_next(request)
        response.headers.update(HEADERS)
        return response

    @made.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", ""):  # a person's browser, not the page's script
            return HTMLResponse(problem_page(str(error.detail)), error.status_code)
        return JSONResponse({"detail": error.detail}, error.status_code)

    @made.exception_handler(StorageError)
    async def damaged(_: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), 500)

    @made.exception_handler(OSError)
    async def disk(_: Request, error: Exception) -> Response:
        return PlainTextResponse(
            f"the disk of this machine refused ({error}); check space and permissions", 507
        )

    _add_uploads(made, batches)
    _add_batches(made, batches)
    add_pairs(made, batches, _known)
    add_region_form(made, batches, _known)
    add_unknown(made, batches)
    _add_tables(made, batches)
    return made


def _known(batches: Batches, name: str) -> str:
    if not BATCH.fullmatch(name) or name not in batches.names():
        raise HTTPException(404, "no such batch")
    return name


def _when_done(batches: Batches, name: str, page: Callable[[], str]) -> Response:
    """A page of a batch's answers; until they are there, how far they are, or why not."""
    state, damaged = batches.state(_known(batches, name)), ""
    if state == "done":
        try:
            return HTMLResponse(page())
        except StorageError as error:
            state, damaged = "failed", str(error)
    return HTMLResponse(waiting_page(batches, name, state=state, damaged=damaged))


def _add_uploads(made: FastAPI, batches: Batches) -> None:
    @made.get("/")
    def start() -> Response:
        return HTMLResponse(start_page(batches, most=MOST_FILES))

    @made.post("/photos")
    async def photos(request: Request) -> Response:
        form = await request.form(max_files=MOST_FILES, max_fields=10)
        folder = batches.arriving()
        try:
            taken, refused = await _store(form.getlist("photos"), folder / "photos")
            if not taken:
                raise HTTPException(400, f"no photo among what was sent: {'; '.join(refused) or 'nothing'}")
            if refused:
                (folder / "refused.txt").write_text("\n".join(refused), encoding="utf-8")
            name = batches.arrived(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return RedirectResponse(f"/batches/{name}/decide", 303)


def _add_batches(made: FastAPI, batches: Batches) -> None:
    @made.get("/batches/{name}/")
    def batch(name: str, page: int = 1) -> Response:
        return _when_done(
            batches, name, lambda: batch_page(batches, name, page, animals=names_in_use(batches, name))
        )

    @made.get("/batches/{name}/decide")
    def pairs(name: str) -> Response:
        def page() -> str:
            batches.answers(name)  # damaged ones are told here, with a way to make them again
            return decide_page(name)

        return _when_done(batches, name, page)

    @made.post("/batches/{name}/again")
    def again(name: str) -> Response:
        if batches.state(_known(batches, name)) in ("done", "failed"):
            batches.again(name)
        return RedirectResponse(f"/batches/{name}/decide", 303)

    @made.post("/batches/{name}/decisions")
    async def decide(name: str, request: Request, page: int = 1) -> Response:
        _known(batches, name)
        form = await request.form(max_files=0, max_fields=4 * MOST_FILES)
        shown = str(form.get("revision", LAST))
        if not re.fullmatch("[0-9]{1,19}", shown):
            raise HTTPException(400, "the form's revision is no number; load the page again")
        animals = names_in_use(batches, name)
        decided, doubtful = decided_in(form, batches.photos(name), animals)
        wanted = of_all_photos(decided, batches.answers(name).cards)
        refused = confirmed.decide(batches, name, wanted, shown=int(shown))
        if refused or doubtful:
            again = batch_page(batches, name, page, animals=animals, refused=refused, doubtful=doubtful)
            return HTMLResponse(again, 409)
        return RedirectResponse(f"/batches/{name}/?page={page}", 303)


def _add_tables(made: FastAPI, batches: Batches) -> None:
    for file, text in confirmed.exported(batches).items():
        made.get(f"/{file}")(lambda text=text: PlainTextResponse(text(), media_type="text/csv"))

    def of_batch(name: str) -> pd.DataFrame:
        return confirmed.confirmed(batches, [_known(batches, name)])

    @made.get(f"/batches/{{name}}/{CONFIRMED}")
    def plain(name: str) -> Response:
        return PlainTextResponse(to_plain_csv(of_batch(name)), media_type="text/csv")

    @made.get(f"/batches/{{name}}/{FOR_SPREADSHEETS}")
    def for_spreadsheets(name: str) -> Response:
        return PlainTextResponse(to_csv(of_batch(name)), media_type="text/csv")


async def _store(uploads: Sequence[Any], folder: Path) -> tuple[list[str], list[str]]:
    """Write what was sent under names of our own making; (names, why others were refused)."""
    taken, refused = [], []
    for number, upload in enumerate(uploads, 1):
        given = Path(getattr(upload, "filename", "") or "").name
        suffix = Path(given).suffix.lower()
        if suffix not in SUFFIXES:
            refused.append(_why_not(given, suffix))
            continue
        data = await upload.read(MOST_FILE_BYTES + 1)
        if len(data) > MOST_FILE_BYTES:
            refused.append(f"{given}: larger than {MOST_FILE_BYTES >> 20} MiB")
            continue
        stem = re.sub(r"[^\w. -]+", "_", Path(given).stem).strip(" .")[:80] or "photo"
        name = f"{stem}{suffix}" if not (folder / f"{stem}{suffix}").exists() else f"{stem}-{number}{suffix}"
        (folder / name).write_bytes(data)
        taken.append(name)
    return taken, refused


def _why_not(given: str, suffix: str) -> str:
    if suffix in UNREAD:
        return f"{given}: {suffix[1:].upper()} files are not read; save it as JPEG and send that"
    return f"{given or 'a field without a file'}: not a photo's name"

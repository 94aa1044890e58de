"""Serve a small page on this machine: drop photos, see candidates, decide, take the names along.

In: photos and decisions that a browser sends. Out: pages, and what `Batches` keeps.

It listens on loopback alone and answers only to addresses of loopback, so no web page elsewhere can
reach it under a name of its own; what a form sends must come from its own pages.
"""

import asyncio
import re
import shutil
from collections.abc import Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from markupsafe import Markup

from reid_ray.datasets.kinds import SUFFIXES
from reid_ray.errors import StorageError
from reid_ray.reporting.batches import BATCH, CONFIRMED, Batches
from reid_ray.reporting.html import environment, policy, style_sheet
from reid_ray.reporting.review import pages_of, review_page
from reid_ray.reporting.tables import to_csv

HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
MOST_FILES = 500
MOST_FILE_BYTES = 64 << 20
MOST_BYTES = 2 << 30
"""Of one request: a little more than `MOST_FILES` ordinary photos."""


def app(batches: Batches) -> FastAPI:
    """The server's pages."""

    @asynccontextmanager
    async def life(_: FastAPI) -> Any:
        task = asyncio.create_task(batches.work())
        yield
        task.cancel()

    made = FastAPI(title="reid_ray review", docs_url=None, redoc_url=None, openapi_url=None, lifespan=life)

    @made.middleware("http")
    async def only_ours(request: Request, call_next: Any) -> Any:
        """Loopback names alone; forms from our own pages alone."""
        if request.headers.get("host", "").rsplit(":", 1)[0] not in HOSTS:
            return PlainTextResponse("this server answers to 127.0.0.1 and localhost alone", 403)
        if request.method == "POST" and not _same_origin(request):
            return PlainTextResponse("forms are taken from this server's own pages alone", 403)
        length = request.headers.get("content-length", "")
        if request.method == "POST" and (not length.isdecimal() or int(length) > MOST_BYTES):
            return PlainTextResponse(f"at most {MOST_BYTES >> 30} GiB at a time", 413)
        response = await call_next(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-store"
        return response

    def known(name: str) -> str:
        if not BATCH.fullmatch(name) or name not in batches.names():
            raise HTTPException(404, "no such batch")
        return name

    @made.get("/")
    def start() -> Response:
        shown = [(name, batches.state(name), _count(batches, name)) for name in batches.names()]
        return HTMLResponse(
            _render(
                "server.html.j2",
                batches=shown,
                forms=True,
                refresh=0,
                most=MOST_FILES,
                kept=str(batches.folder / CONFIRMED),
            )
        )

    @made.post("/photos")
    async def photos(request: Request) -> Response:
        form = await request.form(max_files=MOST_FILES, max_fields=10)
        name = batches.new()
        taken, refused = await _store(form.getlist("photos"), batches.folder / name / "photos")
        if not taken:
            shutil.rmtree(batches.folder / name)
            raise HTTPException(400, f"no photo among what was sent: {'; '.join(refused) or 'nothing'}")
        if refused:
            (batches.folder / name / "refused.txt").write_text("\n".join(refused), encoding="utf-8")
        batches.waiting.append(name)
        return RedirectResponse(f"/batches/{name}/", 303)

    @made.get("/batches/{name}/")
    def batch(name: str, page: int = 1) -> Response:
        known(name)
        state = batches.state(name)
        if state != "done":
            return HTMLResponse(
                _render(
                    "waiting.html.j2",
                    name=name,
                    state=state,
                    log=batches.log(name),
                    forms=False,
                    refresh=0 if state == "failed" else 3,
                )
            )
        answers, cards = batches.answers(name)
        pages = pages_of(answers, cards)
        number = min(max(page, 1), len(pages)) - 1
        names = [f"?page={place + 1}" for place in range(len(pages))]
        exports = [("confirmed.csv", "confirmed.csv"), ("../../", "all batches")]
        return HTMLResponse(
            review_page(
                answers,
                pages,
                number,
                names,
                decisions=batches.decisions(name),
                exports=exports,
                decided=_count(batches, name),
                refused=batches.refused(name),
            )
        )

    @made.post("/batches/{name}/decisions")
    async def decide(name: str, request: Request, page: int = 1) -> Response:
        known(name)
        form = await request.form(max_files=0, max_fields=4 * MOST_FILES)
        decided = _decided(form, {p.name for p in (batches.folder / name / "photos").iterdir()})
        _, cards = batches.answers(name)
        batches.decide(name, _of_all_photos(decided, cards))
        return RedirectResponse(f"/batches/{name}/?page={page}", 303)

    @made.get("/batches/{name}/confirmed.csv")
    def of_batch(name: str) -> Response:
        return PlainTextResponse(to_csv(batches.confirmed([known(name)])), media_type="text/csv")

    @made.get("/confirmed.csv")
    def of_all() -> Response:
        return PlainTextResponse(to_csv(batches.confirmed(batches.names())), media_type="text/csv")

    @made.exception_handler(StorageError)
    async def damaged(_: Request, error: Exception) -> Response:
        return PlainTextResponse(str(error), 500)

    return made


def _same_origin(request: Request) -> bool:
    """Browsers say where a form came from; other programs may say nothing."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host")


async def _store(uploads: Sequence[Any], folder: Path) -> tuple[list[str], list[str]]:
    """Write what was sent under names of our own making; (names, why others were refused)."""
    taken, refused = [], []
    for number, upload in enumerate(uploads, 1):
        given = Path(getattr(upload, "filename", "") or "").name
        suffix = Path(given).suffix.lower()
        if suffix not in SUFFIXES:
            refused.append(f"{given or 'a field without a file'}: not a photo's name")
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


def _decided(form: Any, photos: set[str]) -> dict[str, str]:
    """Decisions on photos of this batch; a name that was typed counts before a choice."""
    decided = {}
    for path in photos:
        if path in form:
            decided[path] = str(form[path])[:203]
        if typed := str(form.get(f"other:{path}", "")).strip()[:200]:
            decided[path] = f"is:{typed}"
    return {
        path: what
        for path, what in decided.items()
        if what in ("", "unknown") or (what.startswith("is:") and len(what) > 3)
    }


def _of_all_photos(decided: dict[str, str], cards: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What was decided on a card's first photo holds for those that it shows together with it."""
    for card in cards:
        for other in card.get("more", ()):
            if card["path"] in decided:
                decided[other["path"]] = decided[card["path"]]
    return decided


def _count(batches: Batches, name: str) -> tuple[int, int]:
    """(decided, photos)."""
    return len(batches.decisions(name)), sum(1 for _ in (batches.folder / name / "photos").iterdir())


def _render(template: str, *, forms: bool, refresh: int, **values: Any) -> str:
    css = style_sheet()
    return (
        environment()
        .get_template(template)
        .render(css=Markup(css), policy=policy(css, forms=forms), refresh=refresh, **values)
    )

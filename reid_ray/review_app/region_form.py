"""The page on which a region is drawn without a script. In: a photo's path and clicks. Out: HTML, a box.

A photo is a button in a form: the browser sends where it was clicked, once for each of two corners. The same
region can be typed as percentages of the photo's sides.
"""

import base64
import io
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from PIL import Image, ImageDraw

from reid_ray.datasets.images import BadImage, open_photo
from reid_ray.review_app import confirmed, regions
from reid_ray.review_app.pages import render
from reid_ray.review_app.queue import Batches

SIDES = ("left", "top", "right", "bottom")
_PX = 640
"""Longer side of the photo; its size on the page is fixed, so that clicks tell places."""
_LINE_PX = 3


def add_region_form(made: FastAPI, batches: Batches, known: Callable[[Batches, str], str]) -> None:
    """Add the page; `known` gives a batch's name back or answers that there is none."""

    @made.get("/batches/{name}/region")
    def page(name: str, path: str, request: Request) -> Response:
        return HTMLResponse(region_page(batches, known(batches, name), path, dict(request.query_params)))

    @made.post("/batches/{name}/region")
    async def save(name: str, path: str, request: Request) -> Response:
        known(batches, name)
        form = {key: str(value) for key, value in (await request.form(max_files=0, max_fields=20)).items()}
        edges = _edges(form)
        if "whole" not in form and edges is None:
            said = "give all four sides, left below right and top below bottom"
            return HTMLResponse(region_page(batches, name, path, form, problem=said), 400)
        box = (
            []
            if edges is None or "whole" in form
            else [edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1]]
        )
        _photo_of(batches, name, path)
        try:
            confirmed.decide(batches, name, {}, boxes={path: box})
        except ValueError as error:
            return HTMLResponse(region_page(batches, name, path, form, problem=str(error)), 400)
        return RedirectResponse(f"/batches/{name}/?page={_page(form)}", 303)


def region_page(batches: Batches, name: str, path: str, said: Mapping[str, str], *, problem: str = "") -> str:
    """The photo with what was marked so far.

    Args:
        said: `left`, `top`, `right`, `bottom` in percent; `corner.x` and `corner.y`, where the photo was
            clicked; `first`, whether one corner is marked; `page`, to go back to.
    """
    picture = _photo_of(batches, name, path)
    picture.thumbnail((_PX, _PX))
    sides, first = {side: said.get(side, "") for side in SIDES}, False
    if clicked := _clicked(said, picture.size):
        first = said.get("first") != "yes"
        if first:
            sides = dict(zip(SIDES, (*clicked, "", ""), strict=True))
        else:
            corners: list[list[float]] = [
                sorted([_number(sides[SIDES[axis]]) or 0.0, float(clicked[axis])]) for axis in (0, 1)
            ]
            (left, right), (top, bottom) = corners
            sides = dict(zip(SIDES, (f"{edge:g}" for edge in (left, top, right, bottom)), strict=True))
    elif not any(sides.values()) and (box := batches.journal(name).boxes().get(path)):
        x, y, width, height = regions.shares_of(batches.folder / name, path, box) or [0.0, 0.0, 1.0, 1.0]
        sides = {
            side: f"{100 * edge:.1f}" for side, edge in zip(SIDES, (x, y, x + width, y + height), strict=True)
        }
    _mark(picture, sides)
    return render(
        "region.html.j2",
        forms=True,
        refresh=0,
        name=name,
        path=path,
        address=quote(path),
        page=_page(said),
        sides=sides,
        first=first,
        problem=problem,
        picture=_uri(picture),
        size=picture.size,
    )


def _photo_of(batches: Batches, name: str, path: str) -> Image.Image:
    if path not in batches.photos(name):
        raise HTTPException(404, "no such photo in this batch")
    try:
        return Image.fromarray(
            open_photo(str(batches.folder / name / "photos"), path, max_pixels=regions.MOST_PIXELS)
        )
    except BadImage as error:
        raise HTTPException(400, f"{path} cannot be shown: {error}") from None


def _clicked(said: Mapping[str, str], size: tuple[int, int]) -> tuple[str, str] | None:
    """Where the photo was clicked, in percent of its sides."""
    x, y = (_number(said.get(f"corner.{axis}", "")) for axis in "xy")
    if x is None or y is None:
        return None
    return f"{min(max(100 * x / size[0], 0), 100):.1f}", f"{min(max(100 * y / size[1], 0), 100):.1f}"


def _edges(said: Mapping[str, str]) -> list[float] | None:
    """Left, top, right and bottom as shares; None where these are no region."""
    told = [_number(said.get(side, "")) for side in SIDES]
    shares = [one / 100 for one in told if one is not None]
    if (
        len(shares) < 4
        or shares[0] >= shares[2]
        or shares[1] >= shares[3]
        or not all(0 <= s <= 1 for s in shares)
    ):
        return None
    return shares


def _number(text: str) -> float | None:
    try:
        value = float(text[:20])
    except ValueError:
        return None
    return value if 0 <= value < 1e5 else None


def _page(said: Mapping[str, Any]) -> int:
    text = str(said.get("page", ""))
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 1


def _mark(picture: Image.Image, sides: Mapping[str, str]) -> None:
    """The region, or its first corner, on the photo."""
    told = [_number(sides[side]) for side in SIDES]
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    if told[0] is None or told[1] is None:
        return
    left, top = told[0] * width / 100, told[1] * height / 100
    if told[2] is None or told[3] is None:
        pen.line([(left, 0), (left, height)], (255, 255, 255), _LINE_PX)
        pen.line([(0, top), (width, top)], (255, 255, 255), _LINE_PX)
        return
    right, bottom = told[2] * width / 100, told[3] * height / 100
    if left < right and top < bottom:
        pen.rectangle([left, top, right, bottom], outline=(11, 92, 158), width=3 * _LINE_PX)
        pen.rectangle([left, top, right, bottom], outline=(255, 255, 255), width=_LINE_PX)


def _uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

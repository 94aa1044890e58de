"""What a section of the report is, and what all of them are drawn from."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from reid_ray.errors import StorageError
from reid_ray.evaluation.metrics import DOMAINS
from reid_ray.reporting import tables
from reid_ray.reporting.pooled import Method, pooled_methods, standing
from reid_ray.reporting.svg import NARROW_PX, WIDE_PX
from reid_ray.runs import files
from reid_ray.runs.study import StudyRecord


@dataclass(frozen=True)
class Subject:
    """A study as sections look at it; what several of them need is made once."""

    record: StudyRecord

    @cached_property
    def methods(self) -> list[Method]:
        return pooled_methods(self.record)

    @cached_property
    def board(self) -> pd.DataFrame:
        return tables.leaderboard(self.record)

    @cached_property
    def audit(self) -> pd.DataFrame:
        return tables.dataset_audit(self.record)

    @cached_property
    def gallery(self) -> dict[str, Any] | None:
        return load_gallery(self.record.gallery_path)

    @property
    def trials(self) -> list[Method]:
        return [method for method in self.methods if method.is_trial]

    @property
    def best(self) -> Method | None:
        """The verdict's best: the first of all baselines and the selected trial."""
        return next(iter(standing(self.methods)), None)

    @property
    def domains(self) -> list[str]:
        return [d for d in DOMAINS if f"{d}_top1" in self.board] or ["seen"]


def _no_tables(_: Subject) -> Mapping[str, pd.DataFrame]:
    return {}


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: of its template `templates/<name>.html.j2`, and of its anchor in the page.
        contents: what the template prints, besides `study`, `domains` and the macros in `show`;
            None where there is nothing to say, which leaves the section out.
        tables: its tables by file name, for CSV; always written, so that scripts find them.
        folded: for engineers: shown on a click.
    """

    name: str
    title: str
    contents: Callable[[Subject], dict[str, Any] | None]
    tables: Callable[[Subject], Mapping[str, pd.DataFrame]] = _no_tables
    folded: bool = False


def drawing(draw: Callable[..., str], name: str) -> Markup:
    """Our own figure as markup, once for wide and once for narrow screens; "" where it is empty.

    Args:
        draw: called with `name` and `width_px`; matplotlib has escaped every name inside.
    """
    wide = draw(name=name, width_px=WIDE_PX)
    if not wide:
        return Markup("")
    narrow = draw(name=f"{name}-narrow", width_px=NARROW_PX)
    return Markup(f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>')


def load_gallery(folder: Path) -> dict[str, Any] | None:
    """gallery.json with thumbnails as data URIs; None where there is no gallery."""
    path = folder / "gallery.json"
    if not files.exists(path):
        return None
    gallery: dict[str, Any] = files.read_json(path)
    try:
        for panel in gallery["panels"]:
            for case in panel["cases"]:
                for kind in ("query", "reference", "right", "matches"):
                    case[f"{kind}_src"] = _data_uri(folder, case[f"{kind}_image"])
    except (KeyError, TypeError) as error:
        raise StorageError(f"{path}: not a gallery ({error!r}); delete it and report again") from None
    return gallery if any(panel["cases"] for panel in gallery["panels"]) else None


def _data_uri(folder: Path, name: str | None) -> str | None:
    """A thumbnail as text; only plain file names of the folder itself are followed."""
    if name is None:
        return None
    path = folder / Path(name).name
    try:
        data = files.read_bytes(path)
    except OSError as error:
        raise StorageError(f"{path}: thumbnail cannot be read ({error})") from None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"

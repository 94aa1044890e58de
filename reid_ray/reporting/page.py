"""Write a study's report: one self-contained page, its tables as CSV, and a manifest of checksums.

In: `StudyRecord`. Out: `index.html` without scripts or outside resources, `*.csv`, `manifest.json`.
"""

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from reid_ray.errors import StorageError
from reid_ray.reporting import contents, tables
from reid_ray.reporting.gallery import MOST_LINES
from reid_ray.reporting.leaks import leaks_csv
from reid_ray.reporting.open_set import open_set_csv
from reid_ray.reporting.pooled import Method, pooled_methods
from reid_ray.reporting.text import duration, percent, shorten, visible
from reid_ray.runs import files
from reid_ray.runs.study import StudyRecord

_TEMPLATES = Path(__file__).parent / "templates"


def write_report(record: StudyRecord, out: Path) -> Path:
    """Write the report into the folder `out`; returns the path of its page.

    Made twice from the same study, all files are the same, byte for byte.
    """
    methods = pooled_methods(record)
    csvs = {name: tables.to_csv(table) for name, table in csv_tables(record, methods).items()}
    written = {name: text.encode("utf-8", "replace") for name, text in csvs.items()}
    written["index.html"] = render(record, methods, list(csvs)).encode("utf-8", "replace")
    for name, data in written.items():
        files.write_bytes(out / name, data)
    manifest = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for name, data in sorted(written.items())
    }
    files.write_json(out / "manifest.json", {"study": record.study["name"], "files": manifest})
    return out / "index.html"


def csv_tables(record: StudyRecord, methods: list[Method]) -> dict[str, Any]:
    """Every table of the report by file name."""
    return {
        "leaderboard.csv": tables.leaderboard(record),
        "datasets.csv": tables.datasets_table(methods),
        "seen_unseen.csv": tables.seen_unseen(methods),
        "settings.csv": tables.ablation(methods),
        "animals.csv": tables.per_identity(methods),
        "answers.csv": tables.answers(methods),
        "ranks.csv": tables.ranks_table(methods),
        **open_set_csv(methods),
        **leaks_csv(record.study),
        "collections.csv": tables.dataset_audit(record),
        "quarantine.csv": record.quarantine,
    }


def render(record: StudyRecord, methods: list[Method], csv_files: list[str]) -> str:
    """The page as text."""
    css = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    context = contents.page_contents(record, methods)
    gallery = load_gallery(record.gallery_path)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            **context,
            css=Markup(css),  # our own file
            policy=_policy(css),
            csv_files=csv_files,
            gallery=gallery,
            most_lines=MOST_LINES,
            sections=contents.sections(context, bool(gallery)),
        )
    )


def load_gallery(folder: Path) -> dict[str, Any] | None:
    """gallery.json with thumbnails as data URIs; None where there is no gallery."""
    path = folder / "gallery.json"
    if not path.exists():
        return None
    gallery: dict[str, Any] = files.read_json(path)
    try:
        for panel in gallery["panels"]:
            for case in panel["cases"]:
                for kind in ("query", "reference", "right", "matches"):
                    case[f"{kind}_src"] = _data_uri(folder, case[f"{kind}_image"])
    except (KeyError, TypeError) as error:
        raise StorageError(
            f"{path}: not a gallery ({error!r}); delete it and report again"
        ) from None
    return gallery if any(panel["cases"] for panel in gallery["panels"]) else None


def _data_uri(folder: Path, name: str | None) -> str | None:
    """A thumbnail as text; only plain file names of the folder itself are followed."""
    if name is None:
        return None
    path = folder / Path(name).name
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: thumbnail cannot be read ({error})") from None
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


def _policy(css: str) -> str:
    """Nothing may load or run; the one style sheet is named by its hash."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(
        percent=percent, points=_points, duration=duration, shorten=shorten, slug=_slug
    )
    environment.tests["measured"] = _is_measured
    return environment


def _finalize(value: Any) -> Any:
    """Every text that is printed shows its hidden characters; our own markup passes."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _is_measured(value: Any) -> bool:
    return value is not None and value == value


def _points(share: float) -> str:
    """A difference with its sign, typographic minus."""
    if not _is_measured(share):
        return "\u2013"
    text = f"{100 * share:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "\u2212")


def _slug(text: str) -> str:
    return text.replace(" ", "-").lower()

"""Write a study's report: one self-contained page, its tables as CSV, and a manifest of checksums.

In: `StudyRecord`. Out: `index.html` without scripts or outside resources, `*.csv`, `manifest.json`.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from markupsafe import Markup

from reid_ray.errors import StorageError
from reid_ray.reporting import contents, tables
from reid_ray.reporting.gallery import MOST_LINES
from reid_ray.reporting.html import environment, policy, style_sheet
from reid_ray.reporting.pooled import Method, pooled_methods
from reid_ray.runs import files
from reid_ray.runs.study import StudyRecord


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
        "collections.csv": tables.dataset_audit(record),
        "quarantine.csv": record.quarantine,
    }


def render(record: StudyRecord, methods: list[Method], csv_files: list[str]) -> str:
    """The page as text."""
    css = style_sheet()
    context = contents.page_contents(record, methods)
    gallery = load_gallery(record.gallery_path)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            **context,
            css=Markup(css),  # our own file
            policy=policy(css),
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

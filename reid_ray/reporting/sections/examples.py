"""Show photos that were told right and wrong, with their matched keypoints."""

import base64
from pathlib import Path
from typing import Any

from reid_ray.errors import StorageError
from reid_ray.reporting.gallery import MOST_LINES
from reid_ray.reporting.sections.section import Section, Subject
from reid_ray.runs import files


def _contents(subject: Subject) -> dict[str, Any] | None:
    gallery = load_gallery(subject.record.gallery_path)
    if not gallery:
        return None
    wrong = [sum(not case["correct"] for case in panel["cases"]) for panel in gallery["panels"]]
    return {
        "gallery": gallery,
        "most_lines": MOST_LINES,
        "shown_wrong": sum(wrong),
        # Galleries of before do not say how many there were.
        "all_wrong": sum(panel.get("wrong", n) for panel, n in zip(gallery["panels"], wrong, strict=True)),
    }


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


SECTION = Section("examples", "Right and wrong", _contents)

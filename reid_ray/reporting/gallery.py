"""Write thumbnails of some queries to look at. In: photos, answers. Out: JPEGs, gallery.json.

Thumbnails are encoded anew from pixels, so no EXIF and no place where a photo was taken goes along.
Files are named by a hash of the photo's key, never by a name from data.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from reid_ray.config.matching import Matching
from reid_ray.datasets.prepared import PreparedImages
from reid_ray.reporting.evidence import matches
from reid_ray.reporting.pooled import pooled_methods, selected_method, standing
from reid_ray.runs import files
from reid_ray.runs.study import StudyRecord

Photo = NDArray[np.uint8]
Points = NDArray[np.float32]
Matcher = Callable[[Photo, Photo, float], tuple[Points, Points]]

THUMBNAIL_PX = 320
"""Of the longer side: small enough to keep a hundred of them in one page, large enough to look into."""
_PAIR_PX = 220
_QUALITY = 80
MOST_LINES = 60
_DEFAULT_RATIO = 0.6
"""Ratio of squared distances where a method names none; Lowe's 0.8 on plain ones is 0.64."""


@dataclass(frozen=True)
class Panel:
    """One method's answers and, of local features, how their matches are drawn.

    Attributes:
        matching: the method's settings; None draws no lines.
        ratios: the threshold chosen for each dataset.
    """

    method: str
    family: str
    predictions: pd.DataFrame
    matching: Matching | None = None
    ratios: Mapping[str, float] = field(default_factory=dict)

    def ratio(self, dataset: str) -> float | None:
        """Threshold of the ratio test on squared distances; None where no lines are drawn."""
        return None if self.matching is None else self.ratios.get(dataset, _DEFAULT_RATIO)


def panels(record: StudyRecord) -> list[Panel]:
    """The selected method, the selected trial, and the local-feature method that stands best, as far as they
    finished.
    """
    found: list[Panel] = []
    selected = selected_method(record)
    for method in standing(pooled_methods(record)):
        local = method.family == "local features"
        to_use = selected is not None and method.name == selected.name
        if method.predictions is None or not (to_use or method.chosen or local):
            continue
        if local and not to_use and any(panel.matching for panel in found):
            continue
        matching, ratios = None, {}
        if local:
            matching = _settings(record, method.name)
            ratios = _ratios(method.params, pd.unique(method.predictions["dataset"]))
        found.append(Panel(method.name, method.family, method.predictions, matching, ratios))
    return found


def _settings(record: StudyRecord, method: str) -> Matching:
    """The method's settings out of the study's config."""
    listed = record.study["config"].get("baselines", {}).get("matching", ())
    for settings in listed:
        if settings.get("name") == method:
            return Matching.parse(settings, where=f"settings of {method}")
    return Matching()


def _ratios(params: Mapping[str, Any], datasets: Iterable[str]) -> dict[str, float]:
    """The tuned thresholds: one for all datasets, or one for each."""
    found = {name: params.get(f"threshold/{name}", params.get("threshold")) for name in datasets}
    return {str(name): float(value) for name, value in found.items() if value is not None}


def make_gallery(
    rows: pd.DataFrame,
    images: PreparedImages,
    shown: Sequence[Panel],
    folder: Path,
    *,
    each: int = 3,
    most_wrong: int = 100,
    seed: int = 0,
    matcher: Matcher | None = None,
) -> Path:
    """Write `each` right queries per panel and all wrong ones; of more than `most_wrong`, that many are
    drawn at random with `seed`.

    Matches are drawn of `each` right and `each` wrong ones.

    Args:
        rows: position i is photo i of `images`.
        matcher: (query, reference, ratio) -> matched points [m, 2] of both, in pixels; default:
            `matched_points`.

    Returns:
        The path of gallery.json, whose file names are relative to `folder`.
    """
    place = {key: position for position, key in enumerate(rows["key"])}
    references = rows[rows["split"] == "reference"]
    of_animal = references.groupby(["dataset", "identity"], observed=True)["key"].first().to_dict()
    described = []
    for panel in shown:
        default = partial(matched_points, config=panel.matching)
        writer = _Writer(images, place, folder, matcher or default)
        picked = pick(panel.predictions, right=each, wrong=most_wrong, rng=np.random.default_rng(seed))
        drawn: Counter[bool] = Counter()
        cases = []
        for row in picked:
            drawn[bool(row["correct"])] += 1
            lines = panel.ratio(str(row["dataset"])) if drawn[bool(row["correct"])] <= each else None
            cases.append(_case(row, of_animal.get((row["dataset"], row["identity"])), writer, lines))
        wrong = int((~panel.predictions["correct"].astype(bool)).sum())
        described.append({"method": panel.method, "family": panel.family, "wrong": wrong, "cases": cases})
    path = folder / "gallery.json"
    files.write_json(path, {"seed": seed, "each": each, "panels": described})
    return path


def pick(
    predictions: pd.DataFrame, *, right: int, wrong: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """At most so many right answers, then wrong ones, at random; never a query without an answer."""
    answered = predictions[predictions["top_keys"].map(len) > 0]
    picked: list[dict[str, Any]] = []
    for correct, most in ((True, right), (False, wrong)):
        part = answered[answered["correct"].astype(bool) == correct]
        chosen = rng.permutation(len(part))[:most]
        picked += [{str(k): v for k, v in row.items()} for row in part.iloc[chosen].to_dict("records")]
    return picked


def matched_points(
    query_rgb: Photo, reference_rgb: Photo, threshold: float, config: Matching | None = None
) -> tuple[Points, Points]:
    """Points [m, 2] of both photos that match as the method matches them.

    Of extractors other than SIFT, OpenCV's SIFT is drawn: it shows the same parts of the animal.
    """
    features, pairs = matches(query_rgb, reference_rgb, threshold, config or Matching())
    query, reference = features.image(0), features.image(1)
    return query.points_xy[pairs[:, 0]], reference.points_xy[pairs[:, 1]]


@dataclass(frozen=True)
class _Writer:
    images: PreparedImages
    place: dict[str, int]
    folder: Path
    matcher: Matcher

    def thumbnail(self, key: str) -> str:
        """Write a photo's thumbnail, once; returns its file name."""
        name = f"{_digest(key)}.jpg"
        if not files.exists(self.folder / name):
            picture = Image.fromarray(self.images[self.place[key]])
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
            files.write_bytes(self.folder / name, jpeg(picture))
        return name

    def pair(self, query: str, reference: str, threshold: float) -> tuple[str, int]:
        """Write both photos with matches as lines; returns file name and match count."""
        left, right = self.images[self.place[query]], self.images[self.place[reference]]
        points_l, points_r = self.matcher(left, right, threshold)
        name = f"{_digest(query, reference, str(threshold))}.jpg"
        picture = draw_pair(left, right, points_l[:MOST_LINES], points_r[:MOST_LINES])
        files.write_bytes(self.folder / name, jpeg(picture))
        return name, len(points_l)


def _case(row: dict[str, Any], right: str | None, writer: _Writer, threshold: float | None) -> dict[str, Any]:
    """One query in gallery.json: the answer, and beside a wrong one the right animal.

    Args:
        right: a reference photo of the query's animal, shown unless the answer's list has a better one.
    """
    keys, scores = [str(key) for key in row["top_keys"]], row["top_scores"]
    if 0 < row["first_correct"] <= len(keys):
        right = keys[int(row["first_correct"]) - 1]
    case: dict[str, Any] = {
        "query": str(row["query"]),
        "dataset": str(row["dataset"]),
        "domain": str(row["domain"]),
        "identity": str(row["identity"]),
        "predicted": str(row["predicted"]),
        "correct": bool(row["correct"]),
        "first_correct": int(row["first_correct"]),
        "reference": keys[0],
        "score": _finite(scores[0]),
        "query_image": writer.thumbnail(str(row["query"])),
        "reference_image": writer.thumbnail(keys[0]),
        "right_image": writer.thumbnail(right) if right and not row["correct"] else None,
        "matches_image": None,
        "matches": None,
    }
    if threshold is not None:
        name, count = writer.pair(case["query"], keys[0], threshold)
        case |= {"matches_image": name, "matches": count}
    return case


def draw_pair(left: Photo, right: Photo, points_l: Points, points_r: Points) -> Image.Image:
    """Two photos at one height, with lines between matched points."""
    pictures, scales = [], []
    for photo in (left, right):
        scale = _PAIR_PX / photo.shape[0]
        size = (max(1, round(photo.shape[1] * scale)), _PAIR_PX)
        pictures.append(Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS))
        scales.append(scale)
    gap = 6
    canvas = Image.new("RGB", (pictures[0].width + gap + pictures[1].width, _PAIR_PX), "white")
    canvas.paste(pictures[0], (0, 0))
    canvas.paste(pictures[1], (pictures[0].width + gap, 0))
    draw = ImageDraw.Draw(canvas)
    colours = ("#ffd400", "#00e5ff", "#ff5fd2", "#7dff4f", "#ff9d3b")
    for number, (a, b) in enumerate(zip(points_l, points_r, strict=True)):
        start = (a[0] * scales[0], a[1] * scales[0])
        end = (b[0] * scales[1] + pictures[0].width + gap, b[1] * scales[1])
        colour = colours[number % len(colours)]
        draw.line([start, end], fill=colour, width=1)
        for x, y in (start, end):
            draw.ellipse([x - 2.5, y - 2.5, x + 2.5, y + 2.5], outline=colour, width=1)
    return canvas


def jpeg(picture: Image.Image) -> bytes:
    """Encoded anew from pixels alone."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None

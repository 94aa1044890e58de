"""From the words of a command line to answers on disk: who is in these photos.

In: parsed arguments. Out: tables, a review page, and closing words.
"""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from reid_ray.config.base import build, read_yaml
from reid_ray.config.identify import LOCAL, IdentifyRun
from reid_ray.config.models import published
from reid_ray.config.named import find, results_folder
from reid_ray.datasets.understand import Said, understand
from reid_ray.errors import ConfigError


def run_of(arguments: argparse.Namespace) -> IdentifyRun:
    """The run that a config, flags or both describe; flags win.

    Raises:
        ConfigError: neither a config nor both folders, or a setting that cannot be used.
        DatasetError: a folder that holds no photos.
    """
    where, raw = "command line", {}
    said = Said.of(arguments)
    if arguments.config:
        path = find("identify", arguments.config)
        where, raw = str(path), read_yaml(path)
    if arguments.query:
        raw["query"] = _collection(arguments.query, "query", raw, said)
    if folders := arguments.reference:
        raw["reference"] = _collection(folders[0], "reference", raw, said)
        raw["more_references"] = [
            _collection(folder, f"reference-{number}", raw, said)
            for number, folder in enumerate(folders[1:], 2)
        ]
    if missing := [part for part in ("reference", "query") if part not in raw]:
        raise ConfigError(
            f"no {' and no '.join(missing)}; give --{missing[0]} DIR, or a config that names it"
        )
    raw |= _flags(arguments)
    if not any(raw.get(name) for name in ("method", "model", "local")):
        raw["local"] = "lnbnn"
    short = raw.get("local")
    if isinstance(short, str) and short in LOCAL and any(one.startswith("local.") for one in arguments.set):
        raw["local"] = LOCAL[short].model_dump(mode="json")  # so that one of its settings can be set
    if raw.get("method"):
        raw = {"images": _images(raw["method"]), **raw}
    return build(IdentifyRun, raw, arguments.set, where=where)


def _collection(folder: str, name: str, raw: dict[str, Any], said: Said) -> dict[str, Any]:
    """A folder or table as a dataset; what it asks of images goes into `raw`."""
    query = name == "query"
    known = replace(said, identity_column=None, level=None) if query else said
    found = understand(folder, named=not query, said=known)
    for text in (*found.problems, *(one for one in found.reasons if one.startswith("not used"))):
        print(f"note: {folder}: {text}", file=sys.stderr)
    if found.boxes:
        raw["images"] = {**raw.get("images", {}), "crop": "bbox"}
    return found.dataset.model_dump(mode="json") | {"name": name}


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if arguments.model:
        given |= _model(arguments.model)
    if arguments.local:
        given["local"] = arguments.local[0] if len(arguments.local) == 1 else arguments.local
    if arguments.cluster_unknown:
        given["cluster_unknown"] = True
    if arguments.unknown_share:
        given["unknown_share"] = arguments.unknown_share
    if arguments.out:
        given["out"] = arguments.out
    return given


def _model(text: str) -> dict[str, Any]:
    """A study's folder (its selected method), a saved method, a timm folder, a known name, a timm name or an
    hf-hub: id.
    """
    from reid_ray.methods.saved import is_saved
    from reid_ray.runs import files

    path = results_folder(text) if "://" in text else Path(text).expanduser().absolute()
    for folder in (path / "selected", path):
        if is_saved(folder):
            return {"method": str(folder)}
    for folder in (path / "selected_trial", path / "winner", path):  # "winner": studies of before
        if files.exists(folder / "config.json"):
            return {"model": {"name": _name_of(path.resolve().name), "weights": str(folder)}}
    if text in published():
        return {"model": text}
    if files.exists(path / "study.json"):
        raise ConfigError(
            f"{text}: the study has no selected method yet; run it to its end, then its methods can be used"
        )
    return {"model": {"name": _name_of(text), "model": text}}


def _images(method: str) -> dict[str, Any]:
    """How a saved method's photos are prepared."""
    from reid_ray.methods.saved import load

    return load(Path(method)).images.model_dump(mode="json")


def _name_of(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text.removeprefix("hf-hub:")).strip("-._")[:60] or "model"


def name_animals(run: IdentifyRun) -> str:
    """Name the animals and write all of it; returns the last words for the terminal."""
    from reid_ray.methods.saved import drawn_by
    from reid_ray.on_ray.identify import identify
    from reid_ray.progress import Display
    from reid_ray.reporting.answers import write_answers
    from reid_ray.reporting.known import known_photos
    from reid_ray.reporting.review import review_cards, write_review
    from reid_ray.runs import files
    from reid_ray.runs.storage import address
    from reid_ray.splits.plausibility import reference_oddities

    display = Display()
    for text in reference_oddities(run.references, run.images):
        display.say(f"note: {text}")
    found = identify(run, display=display)
    answers = found.answers(run.name)
    out = results_folder(run.out) / run.name
    write_answers(answers, out)
    display.say("writing the review page")
    cards = review_cards(
        answers, found.images, matching=drawn_by(found.method), drawn=run.drawn, places=found.places
    )
    if run.keep_cards:
        names = [one.name for one in run.references]
        files.write_json(out / "known.json", known_photos(found.rows, names))
        files.write_json(out / "cards.json", cards)  # the last: with it a batch counts as done
    page = write_review(answers, cards, out)
    return "\n".join(
        [
            "",
            *_counts(answers),
            *(f"note: {note}" for note in answers.notes),
            "",
            f"Review:   {address(page)}",
            f"Tables:   {address(out / 'answers.csv')}, candidates.csv, wildbook.csv, answers.json",
        ]
    )


def _counts(answers: Any) -> list[str]:
    from reid_ray.reporting.answers import sections

    lines = [f"{len(part):>6}  {title.lower()}" for _, title, part in sections(answers.answers)]
    if right := answers.right():
        lines.append(f"{right[0]} of {right[1]} photos whose names were known beforehand are named so")
    if answers.copies:
        lines.append(f"{len(answers.copies):>6}  the same file as a reference photo, see same_files.csv")
    if len(answers.quarantine):
        lines.append(f"{len(answers.quarantine)} photos quarantined, see quarantined.csv")
    return lines

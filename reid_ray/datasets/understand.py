"""Work out how a folder of photos is organised, so that nobody has to know our config to begin.

In: a folder, a table or JSON file in one, or a photo. Out: the dataset's config and what led to it, in words.

Every table, sheet, JSON and the folders are candidates; the one that lists most of the photos that are there
is taken, and why each other is not is told.
"""

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import yaml

from reid_ray.config.datasets import Detections, FolderDataset, PhotoDataset
from reid_ray.datasets.candidates import Candidate, Folder, candidates_of, detectors_of, listing_files
from reid_ray.datasets.kinds import SUFFIXES, is_photo, suffix_of
from reid_ray.datasets.roots import open_root
from reid_ray.errors import DatasetError

_USUAL_NAMES = ("metadata", "annotations")
"""Of a file that is meant to list the photos beside it."""


@dataclass(frozen=True)
class Understood:
    """How a collection is organised.

    Attributes:
        dataset: ready to be used.
        reasons: sentences on what was seen and how it is read.
        boxes: whether there are boxes of animals, so that photos are to be cut to them.
        problems: sentences on what is to be mended.
    """

    dataset: PhotoDataset
    reasons: list[str] = field(default_factory=list)
    boxes: bool = False
    problems: list[str] = field(default_factory=list)

    def yaml(self) -> str:
        """The dataset as an item of `data.datasets`; what stands at its default is left out."""
        plain = self.dataset.model_dump(mode="json", exclude_defaults=True)
        return yaml.safe_dump(
            plain, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6
        ).strip()


@dataclass(frozen=True)
class Said:
    """What somebody says about a collection, so that it is not guessed.

    Attributes:
        identity_column: the table's column that names the animal.
        level: which folder on the way to a photo names the animal.
        follow_links: whether links are followed.
    """

    identity_column: str | None = None
    level: int | None = None
    follow_links: bool = False

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> "Said":
        """What a command line says."""
        return cls(arguments.identity_column, arguments.level, arguments.follow_links)


def understand(given: Path | str, *, named: bool = True, said: Said | None = None) -> Understood:
    """Look at a folder, at the file in it that lists the photos, or at one photo.

    Args:
        given: its path, or its URI such as `s3://bucket/photos`.
        named: whether the animals must be named; photos to be identified need no names.

    Raises:
        DatasetError: nothing there that looks like photos with or without names.
    """
    said = said or Said()
    home, file = _home(given)
    root = open_root(home, follow_links=said.follow_links)
    if not (root.head(file) if file else root.exists()):
        raise DatasetError(f"{given}: no such folder or file")
    if file and (suffix_of(file) in SUFFIXES or is_photo(root.head(file))):
        only = FolderDataset(source="folder", name=_name(home), root=home, only=(file,))
        return Understood(only, [f"one photo, {file}"])
    folder = Folder(
        home, _name(home), root.inventory().files, said.identity_column, said.level, said.follow_links
    )
    listed = [file] if file else listing_files(folder)
    candidates = candidates_of(folder, listed, folders=not file, named=named)
    if file and not candidates:
        raise DatasetError(
            f"{given}: neither a table nor COCO JSON that lists photos; give the folder of the photos, or "
            "the file that lists them"
        )
    best = _best(candidates, folder, named=named)
    if best is None:
        raise DatasetError(_nothing(str(given), candidates, folder))
    reasons = [*best.reasons, *_unused(candidates, best)]
    found = Understood(best.dataset, reasons, best.boxes)  # type: ignore[arg-type]
    return found if file else _with_detections(found, folder, listed)


def _home(given: Path | str) -> tuple[str, str]:
    """The folder, and the file in it that is meant or "". Of object storage a file is known by its suffix."""
    if "://" not in str(given):
        path = Path(given).expanduser()
        return (str(path.parent), path.name) if path.is_file() else (str(path), "")
    above, _, last = str(given).rstrip("/").rpartition("/")
    return (above, last) if suffix_of(last) and not above.endswith(":/") else (str(given).rstrip("/"), "")


def _best(candidates: Sequence[Candidate], folder: Folder, *, named: bool) -> Candidate | None:
    """The listing with most photos if it has half of them, is called as such, or the folders say little."""
    usable = [one for one in candidates if one.dataset is not None and not one.fault]
    lists = [one for one in usable if one.file]
    folders = next((one for one in usable if not one.file), None)
    if not lists:
        waiting = [one for one in candidates if one.file and one.listed and one.fault]
        # Photos in one heap and a table that lacks but the names: the table is what is to be mended.
        return None if named and waiting and folders and not folders.likely else folders
    best = max(lists, key=lambda one: (one.photos, _is_usual(one)))
    if usual := [one for one in lists if _is_usual(one)]:
        best = max(best, usual[0], key=lambda one: (one.photos >= best.photos / 2, _is_usual(one)))
    if folders is None or not folders.likely or _is_usual(best):
        return best
    return best if 2 * best.photos >= folders.photos else folders


def _is_usual(one: Candidate) -> bool:
    """Whether it is plainly meant to list the photos beside it."""
    return bool(one.parts) or one.file.partition(".")[0].casefold() in _USUAL_NAMES


def _unused(candidates: Sequence[Candidate], best: Candidate) -> list[str]:
    """Why each of the others is not taken."""
    told = []
    for one in candidates:
        if one is best or not one.file or one.file in best.parts:
            continue
        why = one.fault or f"it lists {one.photos} of the photos, {best.title} {best.photos}"
        told.append(f"not used: {one.title}, because {why}")
    return told


def _nothing(path: str, candidates: Sequence[Candidate], folder: Folder) -> str:
    """Why nothing can be used."""
    told = "; ".join(f"{one.title}: {one.fault}" for one in candidates if one.fault)
    if folder.identity_column and not told:
        told = "there is no table, so no column either"
    if any("names the animal" in one.fault or "names no animal" in one.fault for one in candidates):
        told += "; rename that column to 'identity', or give --identity-column"
    if told:
        return f"{path}: no photos can be read: {told}"
    counts = Counter(suffix_of(file) or "without a suffix" for file in folder.files).most_common(8)
    there = f"; found {', '.join(f'{count} {suffix}' for suffix, count in counts)}" if counts else ""
    return (
        f"{path}: no photo ({', '.join(sorted(SUFFIXES))}) and no table that lists photos{there}; photos in "
        "other formats must be converted to JPEG"
    )


def _with_detections(found: Understood, folder: Folder, listed: Sequence[str]) -> Understood:
    """Name a detector's results where they lie beside the photos."""
    results = detectors_of(folder, listed)
    if not results:
        return found
    best = max(results, key=lambda one: one.photos)
    reasons = [
        *found.reasons,
        *(
            f"not used: {one.title}, because {best.title} has more photos"
            for one in results
            if one is not best
        ),
    ]
    if not best.photos:
        told = f"not used: {best.title}, because {best.fault}"
        if not best.listed:
            return replace(found, reasons=[*reasons, told])
        told += "; run the detector on the folder that holds all photos"
        return replace(found, reasons=reasons, problems=[told])
    dataset = found.dataset.model_copy(update={"detections": Detections(file=best.file)})
    told = f"{best.file} holds boxes of animals: photos that have one are cropped to it"
    return replace(found, dataset=dataset, reasons=[*reasons, told], boxes=True)


def _name(home: str) -> str:
    """The folder's name (its parent's for `images` and the like), fit to name a dataset."""
    folder = PurePosixPath(home.partition("://")[2]) if "://" in home else Path(home).resolve()
    says_nothing = folder.name.lower() in ("images", "photos", "data", "pictures", "img")
    given = folder.parent.name if says_nothing else folder.name
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", given).strip("-._")
    return name[:64] or "photos"

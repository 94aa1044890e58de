"""Write a synthetic collection: a procedural photo collection that is really re-identification.

In: a `SyntheticDataset`. Out: a folder of photos, masks and `metadata.csv`.

Each animal has its own coat (see `coats`), different on both flanks; 80 % of the photos show the
left flank, so that nearly every query has a reference of the same side. An encounter is one
photo: place, weather and light are drawn anew for each, independently of who stands in it, so
the background cannot tell who it is, and no split can divide an encounter, unless photos are
`repeated` or taken `together` on purpose. The same settings
give the same bytes with the same library versions, and nearly the same pixels anywhere.
"""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic.bodies import Image, draw_body
from reid_ray.datasets.synthetic.census import Shot, by_animal, plan_shots
from reid_ray.datasets.synthetic.coats import grow_patterns
from reid_ray.datasets.synthetic.photo import take_photo
from reid_ray.datasets.synthetic.scene import draw_encounter
from reid_ray.datasets.synthetic.species import SPECIES
from reid_ray.errors import DatasetError
from reid_ray.runs import files
from reid_ray.runs.storage import address, remote

RECIPE = 2
"""Raised whenever the same settings would give other photos."""

METADATA = "metadata.csv"
_ANIMALS_AT_ONCE = 16
_STALE_S = 3600
_BRIGHTER = 1.05


def make_synthetic(folder: Path, dataset: SyntheticDataset) -> Path:
    """Make the collection below `folder`, or find it there; returns its folder.

    It is written beside and renamed when whole, so a crash leaves nothing half; a collection with
    missing or empty files is made again. Several processes may make the same one at once.

    Raises:
        DatasetError: the folder cannot be written.
    """
    home = _home(folder, dataset)
    if _is_whole(home):
        return home
    beside = folder / f".{home.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        _clear_stale(folder, home.name)
        _write(beside, dataset)
        _put_in_place(beside, home)
    except OSError as error:
        raise DatasetError(
            f"{home}: the synthetic collection cannot be written ({error}); "
            "check space and permissions, or choose another folder"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return home


def synthetic_root(folder: Path, dataset: SyntheticDataset) -> str:
    """Where every node finds the collection, which is made where it is nowhere yet.

    Raises:
        DatasetError: the folder cannot be written. StorageError: its object storage cannot.
    """
    home = _home(folder, dataset)
    if remote(home) is None or not files.exists(home / METADATA):
        files.publish_folder(make_synthetic(folder, dataset), last=METADATA)
    return address(home)


def synthetic_table(dataset: SyntheticDataset) -> pd.DataFrame:
    """The metadata, known before a photo is rendered."""
    return pd.DataFrame([_row(shot, dataset) for shot in plan_shots(dataset)])


def synthetic_digest(dataset: SyntheticDataset) -> str:
    """12 hex digits of what decides the photos; name and group do not."""
    parts: list[int | float | str] = [
        RECIPE,
        dataset.species,
        dataset.identities,
        dataset.photos,
        dataset.size_px,
        dataset.seed,
    ]
    if dataset.repeated:
        parts.append(dataset.repeated)
    if dataset.together > 1:
        parts.append(f"together {dataset.together}")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def _home(folder: Path, dataset: SyntheticDataset) -> Path:
    return folder / f"{dataset.species}-{synthetic_digest(dataset)}"


def _is_whole(home: Path) -> bool:
    """Whether every file that the metadata names is there and not empty."""
    try:
        rows = pd.read_csv(home / METADATA, dtype=str, keep_default_na=False)
        return len(rows) > 0 and all(
            (home / name).stat().st_size > 0 for column in ("path", "mask") for name in rows[column]
        )
    except (OSError, ValueError, KeyError):
        return False


def _clear_stale(folder: Path, name: str) -> None:
    """Remove what crashed writers left; younger folders may belong to a live one."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f".{name}.*.tmp"):
        try:
            if time.time() - left.stat().st_mtime > _STALE_S:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue


def _put_in_place(beside: Path, home: Path) -> None:
    """Rename, unless another process was first; a damaged collection makes room."""
    if home.exists() and not _is_whole(home):
        damaged = beside.with_suffix(".old.tmp")
        os.replace(home, damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        os.replace(beside, home)
    except OSError:
        if not _is_whole(home):
            raise


def _write(beside: Path, dataset: SyntheticDataset) -> None:
    shots = plan_shots(dataset)
    (beside / "masks").mkdir(parents=True)
    for identity in {shot.identity for shot in shots}:
        (beside / "images" / identity).mkdir(parents=True)
    for shot, image, mask in render(dataset, shots):
        row = _row(shot, dataset)
        quality = 72 + (shot.number * 7 + shot.repeats) % 21
        if shot.repeats:
            image = cv2.convertScaleAbs(image, alpha=_BRIGHTER).astype(np.uint8)
        _encode(beside / row["path"], image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        _encode(beside / row["mask"], mask, [])
    synthetic_table(dataset).to_csv(beside / METADATA, index=False, lineterminator="\n")


def _row(shot: Shot, dataset: SyntheticDataset) -> dict[str, str]:
    return {
        "image_id": shot.image_id,
        "identity": shot.identity,
        "path": f"images/{shot.identity}/{shot.image_id}.jpg",
        "orientation": shot.orientation,
        "date": shot.date,
        "encounter": shot.encounter,
        "species": dataset.species,
        "mask": f"masks/{shot.image_id}.png",
    }


def render(
    dataset: SyntheticDataset, shots: list[Shot]
) -> Iterator[tuple[Shot, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Photo (RGB) and mask of each shot, animal by animal; few are in memory at a time."""
    species = SPECIES[dataset.species]
    groups = list(by_animal(shots).items())
    size_hw = _photo_size(species.photo_aspect, dataset.size_px)
    body = draw_body(species.plan, width_px=round(1.15 * size_hw[1]))
    for start in range(0, len(groups), _ANIMALS_AT_ONCE):
        chunk = groups[start : start + _ANIMALS_AT_ONCE]
        seeds = [_seed(dataset, 1, animal) for animal, _ in chunk]
        patterns = grow_patterns(seeds, species.growth, height=species.plan.height)
        for (_, taken), pattern in zip(chunk, patterns, strict=True):
            painted: dict[str, Image] = {}
            for shot in taken:
                side = 0 if shot.orientation == "left" else 1
                if shot.orientation not in painted:
                    painted[shot.orientation] = species.paint(body, pattern, side)
                place = np.random.default_rng(_seed(dataset, 2, shot.place))
                habitat = species.habitats[int(place.integers(len(species.habitats)))]
                image, mask = take_photo(
                    np.random.default_rng(_seed(dataset, 3, shot.number)),
                    painted[shot.orientation],
                    body,
                    draw_encounter(place, habitat, size_hw=size_hw),
                    camera=species.camera,
                    mirrored=side == 1 and not species.sides_by_turn,
                    turned=(1.0, -1.0)[side] if species.sides_by_turn else 0.0,
                    size_hw=size_hw,
                )
                yield shot, image, mask


def _photo_size(aspect: float, short_px: int) -> tuple[int, int]:
    """Height and width."""
    return (short_px, round(short_px * aspect)) if aspect >= 1 else (round(short_px / aspect), short_px)


def _seed(dataset: SyntheticDataset, purpose: int, number: int) -> int:
    """A seed of its own for every animal, place and photo."""
    text = f"{dataset.seed}/{dataset.species}/{purpose}/{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _encode(path: Path, image: NDArray[np.uint8], options: list[int]) -> None:
    done, data = cv2.imencode(path.suffix, np.ascontiguousarray(image), options)
    if not done:
        raise OSError(f"{path.name} could not be encoded")
    path.write_bytes(data.tobytes())

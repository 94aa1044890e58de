"""Keep extracted features on disk, found again by what they were made from.

The key is the content of the images and the settings of the extractor (and the content of its
weights), never a file name, so that no stale features are read.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reid_ray.config.matching import Cells, Extractor, Sift
from reid_ray.errors import StorageError, WeightsError
from reid_ray.matching import sift
from reid_ray.matching.extract import extract
from reid_ray.matching.features import Features
from reid_ray.matching.weights import weights_path
from reid_ray.runs import files

_VERSION, _SIFT_VERSION = 2, 3
"""Raised when an extractor gives other features for the same settings."""


def feature_key(images: Sequence[NDArray[np.uint8]], config: Extractor) -> str:
    """20 hex digits that are equal for equal pixels and settings."""
    version = _SIFT_VERSION if isinstance(config, Sift) else _VERSION
    digest = hashlib.sha256(f"{version} {settings_key(config)}".encode())
    for image in images:
        digest.update(np.array(image.shape, np.int64).tobytes())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()[:20]


def settings_key(config: Extractor) -> str:
    """The extractor's settings, with the content of its weights in place of their path."""
    if isinstance(config, Sift | Cells):
        return config.canonical()
    try:
        content = hashlib.sha256(weights_path(config).read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"{config.weights}: cannot be read ({error}); give a file") from None
    return config.model_copy(update={"weights": content}).canonical()


def load_or_extract(folder: Path, images: Sequence[NDArray[np.uint8]], config: Extractor) -> Features:
    """Features from `folder` where they were made before; else made, kept there and returned.

    Kept are plain descriptors of all keypoints: RootSIFT and a cap on keypoints are derived, so
    that methods which differ in them alone share one file.
    """
    kept = config.model_copy(update={"max_keypoints": None})
    if isinstance(kept, Sift):
        kept = kept.model_copy(update={"root": False})
    return derived(_load_or_extract(folder, images, kept), config)


def derived(features: Features, config: Extractor) -> Features:
    """What `config` takes of plain features of all keypoints."""
    cap = config.max_keypoints
    if cap is not None and len(features) and features.keypoints.max() > cap:
        features = Features.pack(features.image(i).strongest(cap) for i in range(len(features)))
    if isinstance(config, Sift) and config.root:
        features = replace(features, descriptors=sift.root(features.descriptors))
    return features


def _load_or_extract(folder: Path, images: Sequence[NDArray[np.uint8]], config: Extractor) -> Features:
    path = folder / f"{feature_key(images, config)}.npz"
    if files.exists(path):
        try:
            return Features.load(path)
        except StorageError:
            files.remove(path)  # Damaged: made again below.
    features = extract(images, config)
    features.save(path)
    return features

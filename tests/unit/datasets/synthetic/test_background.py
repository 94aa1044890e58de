"""Who is in a photo cannot be told without the animal: place, light and camera are drawn
independently.

Every photo is searched among all others of its species (leave one out), so that the interval is
narrow.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from reid_ray.config.datasets import SyntheticDataset
from reid_ray.datasets.synthetic.census import plan_shots
from reid_ray.datasets.synthetic.make import render
from reid_ray.datasets.synthetic.species import SPECIES

pytestmark = pytest.mark.slow

Photos = tuple[list[NDArray[np.uint8]], list[NDArray[np.bool_]], NDArray[np.int64]]
Method = Callable[[list[NDArray[np.uint8]], list[NDArray[np.bool_]]], NDArray[np.float64]]
IDENTITIES, PHOTOS = 8, 8


@cache
def photos(species: str) -> Photos:
    """RGB images, where the animal is not (with a safe margin around it), and the animals'
    numbers."""
    dataset = SyntheticDataset.parse(
        {
            "source": "synthetic",
            "name": "h",
            "species": species,
            "identities": IDENTITIES,
            "photos": PHOTOS,
            "size_px": 96,
        },
        where="test",
    )
    shots, images, masks = zip(*render(dataset, plan_shots(dataset)), strict=True)
    without = [cv2.dilate(mask, np.ones((13, 13), np.uint8)) == 0 for mask in masks]
    return list(images), without, np.array([shot.animal for shot in shots])


def histogram_similarity(
    images: list[NDArray[np.uint8]], shown: list[NDArray[np.bool_]]
) -> NDArray[np.float64]:
    """Negative L1 distance between the colour histograms of what is shown."""
    features = []
    for image, where in zip(images, shown, strict=True):
        counts = [np.histogram(image[..., c][where], 16, (0, 256))[0] for c in range(3)]
        features.append(np.concatenate(counts) / max(int(where.sum()), 1))
    table = np.array(features)
    return np.asarray(-np.abs(table[:, None] - table[None]).sum(axis=2))


def pixel_similarity(images: list[NDArray[np.uint8]], shown: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Cosine of the photos at 16 x 16 pixels, the rest grey, less their mean."""
    small = [
        cv2.resize(np.where(where[..., None], image, np.uint8(128)), (16, 16), interpolation=cv2.INTER_AREA)
        for image, where in zip(images, shown, strict=True)
    ]
    flat = np.array(small, np.float64).reshape(len(small), -1)
    flat -= flat.mean(axis=0)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat @ flat.T)


def sift_similarity(images: list[NDArray[np.uint8]], shown: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """SIFT matches that pass the ratio test (0.8 on plain distances)."""
    sift, matcher = cv2.SIFT.create(), cv2.BFMatcher()
    found = []
    for image, where in zip(images, shown, strict=True):
        flat = np.where(where[..., None], image, np.uint8(128))  # descriptors reach beyond their keypoints
        grey = cv2.resize(cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY), None, fx=1.5, fy=1.5)
        mask = cv2.resize(where.astype(np.uint8), grey.shape[::-1], interpolation=cv2.INTER_NEAREST)
        mask = cv2.erode(mask, np.ones((9, 9), np.uint8))  # nor may the border of the blank count
        descriptors = sift.detectAndCompute(grey, mask)[1]
        found.append(np.zeros((0, 128), np.float32) if descriptors is None else descriptors)
    scores = np.zeros((len(found), len(found)))
    for i, query in enumerate(found):
        for j, reference in enumerate(found):
            if i == j or len(query) < 2 or len(reference) < 2:
                continue
            pairs = matcher.knnMatch(query, reference, k=2)
            scores[i, j] = sum(best.distance < 0.8 * second.distance for best, second in pairs)
    return scores + 1e-6 * np.random.default_rng(0).random(scores.shape)


def top1(similarity: NDArray[np.float64], animals: NDArray[np.int64]) -> NDArray[np.bool_]:
    similarity = similarity.copy()
    np.fill_diagonal(similarity, -np.inf)
    return np.asarray(animals[similarity.argmax(axis=1)] == animals)


def by_chance(similarity: NDArray[np.float64], animals: NDArray[np.int64]) -> NDArray[np.int64]:
    """Right answers in 2000 draws of who is in which photo: what the same neighbours are worth
    without a leak."""
    rng = np.random.default_rng(0)
    return np.array([top1(similarity, rng.permutation(animals)).sum() for _ in range(2000)])


METHODS = [histogram_similarity, pixel_similarity, sift_similarity]


@pytest.mark.parametrize("method", METHODS)
def test_without_the_animal_every_method_is_at_chance(method: Method) -> None:
    """Over all species together, no more right answers than chance gives 39 times out of 40."""
    hits, drawn = 0, np.zeros(2000, np.int64)
    for species in SPECIES:
        images, without, animals = photos(species)
        similarity = method(images, without)
        hits += int(top1(similarity, animals).sum())
        drawn += by_chance(similarity, animals)
    assert hits <= np.quantile(drawn, 0.975)


def test_with_the_animal_the_same_sift_is_far_above_chance() -> None:
    """The control: the test above would see a leak, for the method works where there is something
    to see."""
    images, without, animals = photos("leopard")
    everything = [np.ones_like(where) for where in without]
    similarity = sift_similarity(images, everything)
    assert top1(similarity, animals).sum() > by_chance(similarity, animals).max()

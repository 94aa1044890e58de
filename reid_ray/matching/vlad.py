"""Describe a photo as a whole by its local features, without a network (Jegou et al. 2010, CVPR).

In: features. Out: one vector per photo. Each descriptor goes to its nearest of a few centres; what
is summed there is how far it lies from it.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from reid_ray.matching.features import Features

WORDS = 32
_LEARNED_FROM = 20_000
"""Descriptors, evenly taken, that centres are learned from."""


def learn_centres(features: Features, *, words: int = WORDS) -> NDArray[np.float32]:
    """Centres of the descriptors by k-means, float32 [words, d], the same at every start; fewer
    where there are fewer descriptors, at least one.
    """
    step = max(1, len(features.descriptors) // _LEARNED_FROM)
    pool = features.descriptors[::step].astype(np.float32)
    if len(pool) <= words:
        return pool if len(pool) else np.zeros((1, features.descriptors.shape[1]), np.float32)
    cv2.setRNGSeed(0)
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 15, 0.0)
    _, _, centres = cv2.kmeans(pool, words, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    return np.asarray(centres, np.float32)


def describe(features: Features, centres: NDArray[np.float32]) -> NDArray[np.float32]:
    """A vector per photo, float32 [n, words x d]; all zero for a photo without keypoints."""
    words, dims = centres.shape
    found = np.zeros((len(features), words, dims), np.float32)
    for index in range(len(features)):
        own = features.image(index).descriptors.astype(np.float32)
        nearest = np.argmax(own @ centres.T - (centres**2).sum(1) / 2, axis=1)
        np.add.at(found[index], nearest, own - centres[nearest])
    found /= np.maximum(np.linalg.norm(found, axis=2, keepdims=True), 1e-6)
    return found.reshape(len(features), -1)

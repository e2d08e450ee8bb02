"""The simplest tool that makes pictures: a normal distribution of their pixels, one for each class."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST = 5_000
"""Pictures of a class that it is fitted on."""
COMPONENTS = 64


@dataclass(frozen=True)
class Normal:
    """Probabilistic principal components (Tipping & Bishop 1999) without the noise that is left: mean and main axes.

    Attributes:
        mean: float64 [pixel].
        axes: [component, pixel], each as long as the standard deviation along it.
    """

    mean: Array
    axes: Array

    def draw(self, rows: int, random: np.random.Generator) -> Array:
        """float64 [row, pixel] from 0 to 255."""
        return (self.mean + random.standard_normal((rows, len(self.axes))) @ self.axes).clip(0, 255)


def normals(pictures: Array, codes: Array, rows: Array, seed: int) -> tuple[dict[int, Normal], float]:
    """(A distribution for each code, seconds), from the pictures at `rows`."""
    begin = time.monotonic()
    found = {}
    for code in np.unique(codes[rows]):
        chosen = rows[codes[rows] == code]
        if len(chosen) > MOST:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST, replace=False))
        found[int(code)] = _fitted(np.asarray(pictures[chosen], np.float32).reshape(len(chosen), -1), seed)
    return found, time.monotonic() - begin


def _fitted(pixels: Array, seed: int) -> Normal:
    from sklearn.decomposition import PCA

    width = min(COMPONENTS, *pixels.shape)
    if len(pixels) < 2:
        return Normal(pixels.mean(axis=0), np.zeros((0, pixels.shape[1])))
    model = PCA(width, svd_solver="randomized", random_state=seed).fit(pixels)
    return Normal(model.mean_, model.components_ * np.sqrt(model.explained_variance_)[:, None])


def drawn(found: dict[int, Normal], codes: Array, shape: tuple[int, int, int], seed: int) -> Array:
    """uint8 pictures [row, height, width, channel] of these codes; of a code without a distribution, any one's."""
    random = np.random.default_rng(seed)
    pictures = np.empty((len(codes), *shape), np.uint8)
    for code in np.unique(codes):
        places = np.flatnonzero(codes == code)
        model = found.get(int(code), next(iter(found.values())))
        pictures[places] = np.rint(model.draw(len(places), random)).astype(np.uint8).reshape(-1, *shape)
    return pictures

"""How alike two pictures are: peak signal-to-noise ratio and structural similarity, of each row. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

WHITE = 255.0
MOST_DECIBELS = 60.0
"""An error below that of rounding to 8 bits (58.9 dB) tells nothing; equal pictures would have infinitely many."""
WINDOW, DEVIATION = 11, 1.5
"""Side and standard deviation of the window of Wang et al. 2004."""
STABILISERS = ((0.01 * WHITE) ** 2, (0.03 * WHITE) ** 2)
ROWS = 256
"""Pictures that are compared at once, so that memory stays flat."""


def decibels(answer: Array, truth: Array) -> Array:
    """float64 [row]: peak signal-to-noise ratio over all values of a picture, at most MOST_DECIBELS.

    Args:
        answer, truth: uint8 [row, height, width, channel].
    """
    found = np.empty(len(truth))
    for start in range(0, len(truth), ROWS):
        part = slice(start, start + ROWS)
        difference = answer[part].astype(np.float64) - truth[part]
        found[part] = np.square(difference).mean(axis=(1, 2, 3))
    least = WHITE**2 / 10 ** (MOST_DECIBELS / 10)
    return np.asarray(10 * np.log10(WHITE**2 / np.maximum(found, least)))


def similarity(answer: Array, truth: Array) -> Array:
    """float64 [row]: mean structural similarity, 1 for equal pictures (SSIM: Wang, Bovik, Sheikh & Simoncelli 2004).

    Local means, variances and covariance with a Gaussian window, wherever it lies wholly within the picture; the mean
    over places and channels. In a picture smaller than the window, the window is as large as the smaller side.

    Args:
        answer, truth: uint8 [row, height, width, channel].
    """
    height, width = truth.shape[1:3]
    size = min(WINDOW, height, width)
    rows, columns = _averaging(height, size), _averaging(width, size)

    def local(values: Array) -> Array:
        return np.asarray(rows @ values @ columns.T)

    first, second = STABILISERS
    found = np.empty(len(truth))
    for start in range(0, len(truth), ROWS):
        part = slice(start, start + ROWS)
        left, right = (np.moveaxis(side[part], 3, 1).astype(np.float64) for side in (answer, truth))
        mean_left, mean_right = local(left), local(right)
        variance = local(left * left) - mean_left**2 + local(right * right) - mean_right**2
        covariance = local(left * right) - mean_left * mean_right
        luminance = (2 * mean_left * mean_right + first) / (mean_left**2 + mean_right**2 + first)
        structure = (2 * covariance + second) / (variance + second)
        found[part] = (luminance * structure).mean(axis=(1, 2, 3))
    return found


def _averaging(side: int, size: int) -> Array:
    """[side - size + 1, side]: the matrix that gives the windows' weighted means along one axis."""
    weights = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / DEVIATION) ** 2)
    weights /= weights.sum()
    matrix = np.zeros((side - size + 1, side))
    for place in range(len(matrix)):
        matrix[place, place : place + size] = weights
    return matrix

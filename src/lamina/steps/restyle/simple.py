"""The simplest tool that turns pictures: the colors of one class are given the mean and the spread of the other's.

Reinhard et al. 2001, "Color transfer between images": in a space whose channels hardly depend on each other in pictures
of nature (lαβ, of logarithms of what the eye's cones see), each channel is moved and stretched by itself. Of a class,
mean and spread are those of its pictures in the mean. Grey pictures have one channel, which is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST = 2_000
"""Pictures of a class that are looked at."""
CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
"""From red, green and blue to what long, medium and short cones see."""
OPPONENTS = np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]]) / np.sqrt([[3], [6], [2]])
"""From logarithms of that to l, α and β."""
BLACK = 1 / 255
"""Nothing is darker: the logarithm of 0 has no end."""
FLAT = 1e-6


@dataclass(frozen=True)
class Colors:
    """Of a class's pictures, [channel] each, in the mean.

    Attributes:
        mean: of a channel.
        spread: its standard deviation within a picture.
    """

    mean: Array
    spread: Array

    @classmethod
    def of(cls, pictures: Array) -> Colors:
        """Of pictures uint8 [row, height, width, channel]."""
        values = _channels(pictures[:MOST])
        return cls(values.mean(axis=(0, 1, 2)), values.std(axis=(1, 2)).mean(axis=0))


def transferred(pictures: Array, colors: Colors) -> Array:
    """uint8 pictures [row, height, width, channel] with these means and spreads; a channel without any spread gets the
    mean alone."""
    found = np.empty_like(pictures)
    for start in range(0, len(pictures), 256):
        values = _channels(pictures[start : start + 256])
        mean, spread = (part(axis=(1, 2), keepdims=True) for part in (values.mean, values.std))
        moved = (values - mean) * (colors.spread / np.maximum(spread, FLAT)) + colors.mean
        found[start : start + 256] = np.rint(_pixels(moved) * 255).clip(0, 255).astype(np.uint8)
    return found


def _channels(pictures: Array) -> Array:
    values = pictures.astype(np.float64) / 255
    if values.shape[3] != 3:
        return values
    return np.asarray(np.log10(np.maximum(values, BLACK) @ CONES.T) @ OPPONENTS.T)


def _pixels(values: Array) -> Array:
    if values.shape[3] != 3:
        return values
    return np.asarray(10 ** (values @ np.linalg.inv(OPPONENTS).T) @ np.linalg.inv(CONES).T)

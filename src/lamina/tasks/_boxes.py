"""Geometry of boxes: overlap, suppression of repeated answers, and the places that a detector answers for. NumPy only.

A box is its left, upper, right and lower edge; right and lower are greater.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def areas(boxes: Array) -> Array:
    """[..., 4] to [...]; 0 where a box is turned inside out."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def overlaps(first: Array, second: Array) -> Array:
    """The common area of all pairs: [a, 4] and [b, 4] to [a, b]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    sides = np.maximum(high - low, 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def intersection_over_union(first: Array, second: Array, crowd: Array | None = None) -> Array:
    """Of all pairs: [a, 4] and [b, 4] to [a, b].

    Args:
        crowd: bool [b]; with these the common area is divided by the first box's area alone, as COCO does: an answer
            within a crowd is covered by it, however large the crowd.
    """
    common, own = overlaps(first, second), areas(first)[:, None]
    whole = own + areas(second)[None] - common
    if crowd is not None:
        whole = np.where(crowd[None], own, whole)
    return np.asarray(common / np.maximum(whole, 1e-12))


def suppressed(boxes: Array, scores: Array, labels: Array, overlap: float, most: int) -> Array:
    """Which boxes stay when each, the surest first, removes the less sure ones of its class that overlap it by more.

    Greedy non-maximum suppression, class by class. Equal scores go by position, so the answer never depends on chance.

    Args:
        boxes: float [box, 4].
        scores: float [box].
        labels: int [box].
        most: how many stay at most.

    Returns:
        Positions, the surest first.
    """
    order = np.argsort(-scores, kind="stable")
    # Classes are laid apart, so that boxes of two classes never overlap and one pass serves all.
    span = float(np.ptp(boxes)) + 1 if len(boxes) else 1.0
    placed = boxes[order] - (boxes.min() if len(boxes) else 0.0) + (labels[order] * span)[:, None]
    kept: list[int] = []
    left = np.arange(len(order))
    # One row of overlaps for each box that stays: of the many that do not, none is compared with the others.
    while len(left) and len(kept) < most:
        first, left = left[0], left[1:]
        kept.append(int(order[first]))
        left = left[intersection_over_union(placed[first, None], placed[left])[0] <= overlap]
    return np.array(kept, dtype=np.int64)


@dataclass(frozen=True)
class Places:
    """The places of a pyramid's levels, level after level, each row by row, on a picture's scale in pixels.

    Attributes:
        centers: float64 [place, 2]: x and y.
        strides: float64 [place].
    """

    centers: Array
    strides: Array

    def __len__(self) -> int:
        return len(self.strides)


def grids(height: int, width: int, strides: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Height and width of each level's map of a picture so large; every halving rounds up."""
    return tuple((math.ceil(height / stride), math.ceil(width / stride)) for stride in strides)


@cache
def places(height: int, width: int, strides: tuple[int, ...]) -> Places:
    """All places of these levels."""
    centers, own = [], []
    for stride, (rows, columns) in zip(strides, grids(height, width, strides), strict=True):
        y, x = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
        centers.append(stride * (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5))
        own.append(np.full(rows * columns, float(stride)))
    return Places(np.concatenate(centers), np.concatenate(own))

"""K-means of many sets of points at once, from many starts each: every iteration is a few matrix multiplications.

Lloyd 1982, "Least squares quantization in PCM", from starts drawn as by Arthur & Vassilvitskii 2007, "k-means++: the
advantages of careful seeding", in the greedy form of their section on experiments: of a few candidates the one that
helps most becomes the next centroid. To say how many clusters there are takes some five hundred small fits
(`grouping`); one by one, most of their time is calls and not arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

MOST_ITERATIONS = 100
TOLERANCE = 1e-4
"""Centroids that all together move less, squared and as a share of the points' mean variance, have settled."""
RACE = 8
"""Iterations after which only the best start of each set goes on."""
TOGETHER = 2**19
"""Numbers of a table of distances at once: about what the processor's cache holds."""


@dataclass(frozen=True)
class Fit:
    """The best of several starts, for each of several sets of points.

    Attributes:
        centroids: [set, cluster, size].
        inertia: [set], the sum of the points' squared distances to their nearest centroids.
    """

    centroids: Array
    inertia: Array


def k_means(sets: Array, number: int, random: np.random.Generator, starts: int) -> Fit:
    """Centroids of each set of points, [set, row, size]; computed in single precision.

    A cluster that loses its last point stays where it is. Where fewer points differ than there are clusters, some
    centroids coincide.
    """
    middles = sets.mean(axis=1, keepdims=True, dtype=np.float64)
    # Around their middle, or a set far from the origin would lose its digits.
    points = np.asarray(sets - middles, np.float32)
    found = [
        _fit(points[part], number, random, starts) for part in _chunks(len(points), starts * number * sets.shape[1])
    ]
    best, inertia = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Fit(best.astype(np.float64) + middles, inertia)


def nearest(points: Array, centroids: Array) -> Array:
    """int64 [row]: the nearest centroid of each point."""
    return np.asarray((np.square(centroids).sum(axis=1) - 2 * points @ centroids.T).argmin(axis=1))


def _chunks(sets: int, each: int) -> Iterator[slice]:
    step = max(1, TOGETHER // each)
    return (slice(start, start + step) for start in range(0, sets, step))


def _fit(points: Array, number: int, random: np.random.Generator, starts: int) -> tuple[Array, Array]:
    """(The best centroids [set, cluster, size], their inertia [set]) of float32 points [set, row, size]."""
    centroids = _seeded(points, number, random, starts)
    # A one more for each point: sums of members then count them, and half the squared centroid joins each product.
    extended = np.concatenate([points, np.ones((*points.shape[:2], 1), np.float32)], axis=2)
    tolerance = TOLERANCE * points.var(axis=1).mean(axis=1, dtype=np.float64)
    for _ in range(RACE):
        centroids, inertia = _iterated(extended, centroids)
    best = inertia.argmin(axis=1)[:, None, None, None]
    centroids, moving = np.take_along_axis(centroids, best, axis=1), np.arange(len(points))
    for _ in range(MOST_ITERATIONS - RACE):
        moved, _ = _iterated(extended[moving], centroids[moving])
        shift = np.square(moved - centroids[moving]).sum(axis=(1, 2, 3), dtype=np.float64)
        centroids[moving] = moved
        moving = moving[shift > tolerance[moving]]
        if not len(moving):
            break
    _, halves = _iterated(extended, centroids)
    squares = np.einsum("sri,sri->s", points, points, dtype=np.float64)
    return centroids[:, 0], squares + 2 * halves[:, 0]


def _iterated(extended: Array, centroids: Array) -> tuple[Array, Array]:
    """One iteration of Lloyd: (the means of the points nearest to each centroid; half the inertia of the centroids as
    they were [set, start], less half the points' own squares, which are the same for all).

    Args:
        extended: [set, row, size + 1], the last a one.
        centroids: [set, start, cluster, size].
    """
    sets, starts, number, size = centroids.shape
    lengths = np.square(centroids).sum(axis=3, keepdims=True) / 2
    lines = np.concatenate([-centroids, lengths], axis=3).reshape(sets, starts * number, size + 1)
    sums, inertia = np.zeros((sets, starts * number, size + 1), np.float32), np.zeros((sets, starts))
    for part in _chunks(extended.shape[1], sets * starts * number):
        rows = extended[:, part]
        distances = (lines @ rows.transpose(0, 2, 1)).reshape(sets, starts, number, -1)
        # Not by `argmin`: along an axis that is not the last it takes ten times as long.
        least = distances.min(axis=2, keepdims=True)
        inside = distances == least
        if np.count_nonzero(inside) > least.size:
            # A point that is as near to several is counted with the first of them.
            inside &= inside.cumsum(axis=2) == 1
        sums += inside.reshape(sets, starts * number, -1).astype(np.float32) @ rows
        inertia += least.sum(axis=(2, 3), dtype=np.float64)
    totals = sums.reshape(sets, starts, number, size + 1)
    counts = totals[..., -1:]
    return np.where(counts > 0, totals[..., :-1] / np.maximum(counts, 1), centroids), inertia


def _seeded(points: Array, number: int, random: np.random.Generator, starts: int) -> Array:
    """[set, start, cluster, size]: points, each the more probable the farther it is from those before it; of some
    candidates the one that leaves the least inertia."""
    sets, rows, size = points.shape
    tries = 2 + int(math.log(number))
    squares = np.square(points).sum(axis=2)[:, None, :]
    chosen = np.empty((sets, starts, number, size), np.float32)
    every = np.arange(sets)[:, None]
    chosen[:, :, 0] = points[every, random.integers(rows, size=(sets, starts))]
    far = _apart(points, squares, chosen[:, :, 0])
    for name in range(1, number):
        ends = far.cumsum(axis=2, dtype=np.float64)
        drawn = random.random((sets, starts, tries)) * ends[..., -1:]
        places = _places(ends, drawn)
        tried = points[every[..., None], places].reshape(sets, starts * tries, size)
        left = _apart(points, squares, tried).reshape(sets, starts, tries, rows)
        np.minimum(left, far[:, :, None], out=left)
        best = left.sum(axis=3).argmin(axis=2)[:, :, None]
        far = np.take_along_axis(left, best[..., None], axis=2)[:, :, 0]
        chosen[:, :, name] = points[every, np.take_along_axis(places, best, axis=2)[:, :, 0]]
    return chosen


def _apart(points: Array, squares: Array, others: Array) -> Array:
    """[set, other, row]: squared distances of points [set, row, size] from some others [set, other, size]."""
    products = others @ points.transpose(0, 2, 1)
    products *= -2
    products += squares
    products += np.square(others).sum(axis=2, keepdims=True)
    return np.asarray(np.maximum(products, 0.0, out=products))


def _places(ends: Array, drawn: Array) -> Array:
    """int64 [set, start, try]: in which of the intervals that end there, [set, start, row], each drawn number lies."""
    flat = zip(ends.reshape(-1, ends.shape[-1]), drawn.reshape(-1, drawn.shape[-1]), strict=True)
    found = np.stack([np.searchsorted(one, other, side="right") for one, other in flat])
    return np.asarray(np.minimum(found, ends.shape[-1] - 1)).reshape(drawn.shape)

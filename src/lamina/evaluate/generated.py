"""How near made examples come to real ones, as distributions: NumPy only, on features of whatever kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

NEAREST = 3
"""Neighbors that say how far the real examples' surface reaches (Kynkäänniemi et al. 2019)."""


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of features.

    Attributes:
        mean: float64 [width].
        covariance: float64 [width, width].
    """

    mean: Array
    covariance: Array

    @classmethod
    def of(cls, features: Array, weights: Array | None = None) -> Moments:
        """Of rows [row, width], each counted as often as `weights` [row] says."""
        rows = np.asarray(features, np.float64)
        weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
        total = weights.sum()
        mean = weights @ rows / total
        centred = rows - mean
        return cls(mean, (centred * weights[:, None]).T @ centred / max(total - 1, 1))


def frechet(one: Moments, other: Moments) -> float:
    """The Fréchet distance between two normal distributions with these moments, squared (Dowson & Landau 1982; on
    features of a network Heusel et al. 2017): |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½). 0 where they are the same.

    The trace of the root is the sum of the roots of the eigenvalues of C1^½ C2 C1^½, which is symmetric: no complex
    numbers come up.
    """
    values, vectors = np.linalg.eigh(one.covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ other.covariance @ root)
    apart = one.mean - other.mean
    trace = np.trace(one.covariance) + np.trace(other.covariance) - 2 * np.sqrt(inner.clip(0)).sum()
    return float(max(apart @ apart + trace, 0.0))


def precision_recall(real: Array, made: Array, neighbors: int = NEAREST) -> tuple[float, float]:
    """(Share of made examples that look real, share of real examples that are ever made), Kynkäänniemi et al. 2019.

    An example belongs to a set if it lies no farther from one of its members than that member's `neighbors`-th nearest
    other member.

    Args:
        real, made: features [row, width].
    """
    return _within(made, real, neighbors), _within(real, made, neighbors)


def _within(asked: Array, members: Array, neighbors: int) -> float:
    """The share of `asked` that belongs to the set of `members`."""
    if not len(asked) or len(members) < 2:
        return 0.0
    place = min(neighbors, len(members) - 1)
    reach = np.concatenate([np.partition(block, place, axis=1)[:, place] for block in _distances(members, members)])
    inside = [(block <= reach).any(axis=1) for block in _distances(asked, members)]
    return float(np.concatenate(inside).mean())


def _distances(one: Array, other: Array, block: int = 512) -> list[Array]:
    """Squared distances [row of a block, row], block by block."""
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    squares = (other**2).sum(axis=1)
    return [
        np.maximum((part**2).sum(axis=1)[:, None] + squares - 2 * part @ other.T, 0.0)
        for part in (one[start : start + block] for start in range(0, len(one), block))
    ]


def nearest(asked: Array, known: Array) -> Array:
    """int64 [row]: the known example whose features are nearest to each one asked for."""
    return np.concatenate([block.argmin(axis=1) for block in _distances(asked, known)])

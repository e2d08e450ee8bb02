"""How many clusters are there, and which? K-means on vectors, with the number that other rows would give as well.

Clusters that are in the data are found again in other rows of it; where k-means has only cut a cloud into pieces, other
rows give other cuts. So the rows are divided into two random halves, each is clustered, all rows are assigned to the
nearest centroids of both, and the two partitions are compared by the adjusted Rand index (Ben-Hur, Elisseeff & Guyon
2002, "A stability based method for discovering structure in clustered data"; Lange, Roth, Braun & Buhmann 2004,
"Stability-based validation of clustering solutions").

Few clusters are trivially stable: any long cloud is cut across its length again and again. Lange et al. divide by
the stability of labels drawn at random, which are unstable with any number and so do not see this. Here the stability
is set in relation to that of clouds of the same extent without groups: a Gaussian (Liu et al. 2008, "Statistical
significance of clustering for high-dimension, low-sample size data") and a box (Tibshirani, Walther & Hastie 2001,
"Estimating the number of clusters via the gap statistic"), whichever is more stable, for a square is cut into its
quarters more stably than a Gaussian. What counts is which share of the way from there to perfect stability is reached,
as in Cohen's kappa. Of the numbers that come near the best the largest is taken: two pairs of groups are stable as two
and as four, and four say more.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.steps.unlabelled.kmeans import k_means, nearest

Array = np.ndarray[Any, Any]

HALF = 1000
"""Rows in each half at most: the work stays bounded, and more would make even arbitrary cuts look stable."""
PAIRS, REFERENCES = 8, 3
"""Pairs of halves of the data; and of each kind of cloud without groups, a new cloud each time."""
LEAST = 0.5
"""Of the way from a cloud without groups to perfect stability: below, there are no groups to speak of."""
NEAR = 0.05
"""Numbers of clusters that are less stable than the best by no more than this are as good."""
FIRMEST = 0.98
"""The stability of clouds counts as no more than this: beyond, the rest of the way is only noise."""
ROWS_EACH = 10
"""Rows there must be for each cluster that is tried."""
STARTS, FINAL_STARTS = 3, 10
MEASURED = 8
"""Halves that are fitted to say how long all of them will take."""


@dataclass(frozen=True)
class Grouping:
    """Clusters, and how many were tried.

    Attributes:
        members: int64 [row], each row's cluster, from 0 on.
        tried: numbers of clusters, ascending; empty where the rows allow none.
        stability: by number tried, the mean adjusted Rand index between halves.
        reference: the same of clouds without groups.
        asked: the number was given.
    """

    members: Array
    tried: tuple[int, ...] = ()
    stability: tuple[float, ...] = ()
    reference: tuple[float, ...] = ()
    asked: bool = False

    @property
    def clusters(self) -> int:
        return int(self.members.max()) + 1

    @property
    def firmness(self) -> tuple[float, ...]:
        """By number tried: 1 for perfect stability, 0 for that of clouds without groups, or less."""
        return tuple(firmness(one, other) for one, other in zip(self.stability, self.reference, strict=True))

    @property
    def best(self) -> int:
        """The place, among the numbers tried, of the number of clusters; where there is one cluster, of the firmest."""
        return self.tried.index(self.clusters) if self.clusters in self.tried else int(np.argmax(self.firmness))

    @property
    def reason(self) -> str:
        """Why so many clusters, for the reader."""
        if not self.tried:
            return "no number of clusters could be tried: too few different rows"
        place = self.best
        compared = (
            f"the clusters of two halves of the rows agree with an adjusted Rand index of {self.stability[place]:.2f}; "
            f"in a cloud without groups they would with {self.reference[place]:.2f}"
        )
        if self.asked:
            return f"{self.clusters} clusters, as you asked: {compared}"
        if self.clusters == 1:
            return f"no stable grouping, even {self.tried[place]} clusters are not firm: {compared}"
        return f"{self.clusters} clusters: {compared}"


def firmness(stability: float, reference: float) -> float:
    """The share of the way from the reference to 1 that is reached; negative where it is missed."""
    floor = min(reference, FIRMEST)
    return (stability - floor) / (1 - floor)


def seconds(rows: int, most: int, *, asked: bool = False) -> float:
    """About how long `grouped` takes on this machine, from a fit that is really done.

    Args:
        most: the largest number of clusters tried, or the only one, if it is `asked` for.
    """
    tried = 1 if asked else len(numbers(rows, most))
    half = min(rows // 2, HALF)
    if not tried or half < most:
        return 0.0
    random = np.random.default_rng(0)
    number = most if asked else max(most // 2, 1)
    halves = random.normal(size=(MEASURED, half, most))
    k_means(halves[:1], 1, random, 1)
    begin = time.monotonic()
    k_means(halves, number, random, STARTS)
    each = (time.monotonic() - begin) * 2 * (PAIRS + 2 * REFERENCES) / MEASURED
    # The last fit has all rows and more starts.
    return each * tried + each * rows / half


def numbers(rows: int, most: int) -> range:
    """The numbers of clusters that are tried for so many rows."""
    return range(2, min(most, rows // ROWS_EACH) + 1)


def grouped(vectors: Array, *, clusters: int | None, most: int, seed: int) -> Grouping:
    """Clusters of some rows.

    Args:
        vectors: [row, size], of length 1, so that squared distances are twice one minus the cosine.
        clusters: how many; None: chosen by stability. There are fewer where fewer rows are different.
        most: the largest number that is tried.
    """
    distinct = len(np.unique(np.round(vectors, 5), axis=0))
    reduced = principal(vectors, clusters or most)
    if clusters is None:
        tried = numbers(len(vectors), min(most, distinct))
    else:
        # Each half must hold more rows than clusters, or nothing can be said of their stability.
        tried = range(clusters, clusters + 1) if clusters <= min(distinct, len(vectors) // 4) else range(0)
    found = [_stabilities(reduced, number, seed) for number in tried]
    stability, reference = tuple(one for one, _ in found), tuple(other for _, other in found)
    chosen = min(clusters, distinct) if clusters else chosen_number(tried, stability, reference)
    members = members_of(vectors, reduced, chosen, seed)
    return Grouping(members, tuple(tried), stability, reference, clusters is not None)


def chosen_number(tried: Sequence[int], stability: Sequence[float], reference: Sequence[float]) -> int:
    """The largest number of clusters that is about as firm as the firmest; 1 where none is firm."""
    firm = [firmness(one, other) for one, other in zip(stability, reference, strict=True)]
    if not firm or max(firm) < LEAST:
        return 1
    return max(number for number, value in zip(tried, firm, strict=True) if value >= max(firm) - NEAR)


def principal(vectors: Array, most: int) -> Array:
    """[row, at most `most`]: the vectors in the directions in which they differ most, centred.

    The centroids of k clusters span at most k - 1 directions, and of all choices the principal ones leave the least of
    k-means' objective out (Ding & He 2004, "K-means clustering via principal component analysis"). The many others of
    an embedding add the same noise to every distance: without them clusters are steadier, and found sooner.
    """
    centred = np.asarray(vectors, np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    kept = axes[:, ::-1][:, : max(most, 2)]
    # The sign of an axis is arbitrary: the same on every machine.
    kept = kept * np.sign(np.take_along_axis(kept, np.abs(kept).argmax(axis=0)[None], axis=0))
    return np.asarray(centred @ kept)


def _stabilities(points: Array, number: int, seed: int) -> tuple[float, float]:
    """(Stability of so many clusters, that of clouds without groups)."""
    random = np.random.default_rng([seed, number])
    rows, size = min(len(points), 2 * HALF) // 2 * 2, points.shape[1]
    low, high = points.min(axis=0), points.max(axis=0)
    own = [points[random.permutation(len(points))[:rows]] for _ in range(PAIRS)]
    round_clouds = [random.normal(size=(rows, size)) * points.std(axis=0) for _ in range(REFERENCES)]
    boxes = [random.uniform(low, high, (rows, size)) for _ in range(REFERENCES)]
    agreed = _agreements(np.stack([*own, *round_clouds, *boxes]), number, random)
    reference = max(agreed[PAIRS : PAIRS + REFERENCES].mean(), agreed[PAIRS + REFERENCES :].mean())
    return float(agreed[:PAIRS].mean()), float(reference)


def _agreements(sets: Array, number: int, random: np.random.Generator) -> Array:
    """[set]: the adjusted Rand index of a set's points, [set, row, size], between the clusters of its two halves."""
    count, rows, size = sets.shape
    halves = sets.reshape(count * 2, rows // 2, size)
    found = k_means(halves, number, random, STARTS).centroids.reshape(count, 2, number, size)
    pairs = zip(sets, found, strict=True)
    return np.array([rand_index(nearest(points, one), nearest(points, other)) for points, (one, other) in pairs])


def rand_index(one: Array, other: Array) -> float:
    """How well two partitions of the same rows agree, int64 [row]: 1 perfectly, 0 as by chance.

    The adjusted Rand index of Hubert & Arabie 1985, "Comparing partitions".
    """
    width = int(other.max()) + 1
    both = np.bincount(one * width + other, minlength=(int(one.max()) + 1) * width).reshape(-1, width)
    together, first, second = (_pairs(counts) for counts in (both, both.sum(axis=1), both.sum(axis=0)))
    chance = first * second / max(_pairs(np.array([len(one)])), 1.0)
    most = (first + second) / 2
    return 1.0 if most == chance else (together - chance) / (most - chance)


def _pairs(counts: Array) -> float:
    """How many pairs of rows are in the same group, by how many rows each has."""
    return float((counts * (counts - 1) / 2).sum())


def centroids(points: Array, number: int, random: np.random.Generator) -> Array:
    """[cluster, size]: of the best of many starts."""
    return np.asarray(k_means(points[None], number, random, FINAL_STARTS).centroids[0])


def members_of(vectors: Array, reduced: Array, number: int, seed: int) -> Array:
    """int64 [row]: the clusters of all rows, found in the reduced space and settled in that of the vectors."""
    if number < 2:
        return np.zeros(len(vectors), np.int64)
    random = np.random.default_rng(seed)
    members = nearest(reduced, centroids(reduced, number, random))
    for _ in range(20):
        settled = nearest(vectors, np.stack([vectors[members == name].mean(axis=0) for name in np.unique(members)]))
        if np.array_equal(settled, members):
            break
        members = settled
    return np.unique(members, return_inverse=True)[1].astype(np.int64)

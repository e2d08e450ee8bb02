"""How good are descriptions that nobody checked while they were learned? Probes and curves, judged by labels."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from lamina.evaluate.judged import Judged, Weighted

Array = np.ndarray[Any, Any]

UNTRAINED, PLAIN = "the same network untrained", "plain features"
"""Names of what descriptions are compared with."""
NEIGHBORS = 10
COLLAPSED = 0.1
"""Spread of vectors below which they say next to nothing; directions drawn at random have about 1."""
MOST_PROBED = 20_000
"""Training rows that a probe learns from at most."""


def probes(name: str, train: Array, codes: Array, test: Array, truth: Array, seed: int, seconds: float = 0.0) -> Judged:
    """Two simple learners on top of fixed vectors: nearest neighbors, and one linear layer.

    Wu et al. 2018 ("instance discrimination", weighted neighbors) and the usual linear evaluation of self-supervised
    learning (Zhang et al. 2016, "Colorful image colorization"). Only training rows with a label are learned from.

    Args:
        train, test: [row, width].
        codes, truth: int64 [row], the labels; training rows with -1 are left out.
    """
    begin = time.monotonic()
    kept = np.flatnonzero(codes >= 0)
    if len(kept) > MOST_PROBED:
        kept = np.sort(np.random.default_rng(seed).choice(kept, MOST_PROBED, replace=False))
    near = neighbors(train[kept], codes[kept], test)
    line = linear(train[kept], codes[kept], test, seed)
    right = {"knn_accuracy": near == truth, "probe_accuracy": line == truth}
    scores = {score: _share(found.astype(np.float64)) for score, found in right.items()}
    return Judged(name, scores, seconds + time.monotonic() - begin)


def neighbors(train: Array, codes: Array, test: Array) -> Array:
    """int64 [row]: the class that most of the nearest training vectors have, weighted by how near they are."""
    one, other = _unit(train), _unit(test)
    number, classes = min(NEIGHBORS, len(one)), int(codes.max()) + 1
    found = np.empty(len(other), np.int64)
    for start in range(0, len(other), 512):
        likeness = other[start : start + 512] @ one.T
        nearest = np.argpartition(-likeness, number - 1, axis=1)[:, :number]
        weight = np.exp(np.take_along_axis(likeness, nearest, 1) / 0.1)
        votes = np.zeros((len(likeness), classes))
        for place in range(number):
            votes[np.arange(len(votes)), codes[nearest[:, place]]] += weight[:, place]
        found[start : start + 512] = votes.argmax(axis=1)
    return found


def linear(train: Array, codes: Array, test: Array, seed: int) -> Array:
    """int64 [row]: what logistic regression on standardised vectors answers."""
    from sklearn.linear_model import LogisticRegression

    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    if len(set(codes.tolist())) < 2:
        return np.full(len(test), codes[0])
    model = LogisticRegression(C=0.1, tol=1e-3, max_iter=500, random_state=seed)
    with warnings.catch_warnings():
        # The last digits of a probe's weights change nothing.
        warnings.simplefilter("ignore")
        model.fit((train - mean) / spread, codes)
    answered: Array = model.predict((test - mean) / spread)
    return answered


def _unit(vectors: Array) -> Array:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), np.float32)


def _share(values: Array) -> Weighted:
    return lambda weights: np.asarray(weights @ values / np.maximum(weights.sum(axis=1), 1e-9))


def detections(name: str, score: Array, strange: Array, seconds: float = 0.0, note: str = "") -> Judged:
    """How well a score sets strange rows apart from ordinary ones.

    Args:
        score: [row], higher is stranger.
        strange: bool [row], the truth.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.r_[score[order][1:] != score[order][:-1], True])
    hits = strange[order].astype(np.float64)

    def curve(weights: Array) -> tuple[Array, Array]:
        sorted_weights = weights[:, order]
        return (
            np.cumsum(sorted_weights * hits, axis=1)[:, ends],
            np.cumsum(sorted_weights * (1 - hits), axis=1)[:, ends],
        )

    def auc(weights: Array) -> Array:
        true, false = curve(weights)
        zero = np.zeros((len(true), 1))
        area = np.trapezoid(np.hstack([zero, true]), np.hstack([zero, false]), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(area / (true[:, -1] * false[:, -1]))

    def precision(weights: Array) -> Array:
        true, false = curve(weights)
        gained = np.diff(np.hstack([np.zeros((len(true), 1)), true]), axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((gained * true / np.maximum(true + false, 1e-12)).sum(axis=1) / true[:, -1])

    return Judged(name, {"auc": auc, "average_precision": precision}, seconds, note)


def partitions(name: str, found: Array, truth: Array, seconds: float = 0.0, note: str = "") -> Judged:
    """How well clusters agree with classes, whatever either are called.

    "ari": the adjusted Rand index, 1 for the same partition, 0 by chance (Hubert & Arabie 1985). "nmi": mutual
    information over the mean of the two entropies (Strehl & Ghosh 2002, arithmetic mean).

    Args:
        found, truth: int [row], clusters and classes.
    """
    tables = [_members(part) for part in (np.stack([found, truth], axis=1), found, truth)]

    def counts(weights: Array) -> list[Array]:
        return [np.asarray((table @ weights.T).T) for table in tables]

    def ari(weights: Array) -> Array:
        both, one, other = (_pairs(part).sum(axis=1) for part in counts(weights))
        expected = one * other / np.maximum(_pairs(weights.sum(axis=1)), 1e-9)
        most = (one + other) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            # Two partitions into one cluster each, or into single rows, agree wholly.
            return np.where(most == expected, 1.0, (both - expected) / (most - expected))

    def nmi(weights: Array) -> Array:
        both, one, other = (_entropy(part) for part in counts(weights))
        mean = (one + other) / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(mean <= 1e-12, 1.0, np.maximum(one + other - both, 0.0) / mean)

    return Judged(name, {"ari": ari, "nmi": nmi}, seconds, note)


def _members(names: Array) -> Any:
    """Sparse [group, row] with 1 where a row is in a group; a group is what rows with the same name make."""
    from scipy import sparse

    groups, place = np.unique(names, axis=0, return_inverse=True)
    place = place.reshape(-1)
    return sparse.csr_matrix((np.ones(len(place)), (place, np.arange(len(place)))), shape=(len(groups), len(place)))


def _pairs(counts: Array) -> Array:
    return np.asarray(counts * (counts - 1) / 2)


def _entropy(counts: Array) -> Array:
    """[replicate] of [replicate, group], in nats."""
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    return np.asarray(-(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=1))

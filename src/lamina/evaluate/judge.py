"""How good are descriptions that nobody checked while they were learned? Probes and curves, judged by labels."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from lamina.evaluate.intervals import wilson
from lamina.evaluate.judged import Judged, Weighted, compared
from lamina.evaluate.results import Interval

Array = np.ndarray[Any, Any]

UNTRAINED, PLAIN = "the same network untrained", "plain features"
"""Names of what descriptions are compared with."""
NEIGHBORS = 10
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
    everywhere = np.ones(len(truth), bool)
    scores = {score: _share(found, everywhere) for score, found in right.items()}
    return Judged(name, scores, seconds + time.monotonic() - begin)


def neighbors(train: Array, codes: Array, test: Array | None = None) -> Array:
    """int64 [row]: the class that most of the nearest training vectors have, weighted by how near they are.

    Args:
        test: [row, width]; None asks of each training vector what class the others nearest to it have.
    """
    one = _unit(train)
    other = one if test is None else _unit(test)
    number, classes = min(NEIGHBORS, len(one) - (test is None)), int(codes.max()) + 1
    found = np.empty(len(other), np.int64)
    for start in range(0, len(other), 512):
        likeness = other[start : start + 512] @ one.T
        if test is None:
            itself = np.arange(len(likeness))
            likeness[itself, start + itself] = -np.inf
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


def _share(marked: Array, of: Array) -> Weighted:
    """The share of the rows `of` that are marked, bool [row] each; NaN where there are none."""

    def share(weights: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(weights @ (marked & of).astype(np.float64) / (weights @ of.astype(np.float64)))

    return share


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


def alarmed(alarms: Array, strange: Array, seed: int = 0, block: int = 1) -> dict[str, Interval]:
    """The share of the strange rows that raise an alarm, "found", and of the ordinary ones, "false_alarms".

    Intervals are Wilson's; of neighbours in time they are drawn in blocks, and Wilson's of as many blocks where all
    that is drawn is alike.

    Args:
        alarms, strange: bool [row].
    """
    of = {"found": strange, "false_alarms": ~strange}
    shares = Judged("", {name: _share(alarms, rows) for name, rows in of.items()})
    scores, _ = compared(shares, (), len(strange), seed, block=block, lower=("false_alarms",))
    for name, figure in scores.items():
        if math.isfinite(figure.value) and (block == 1 or figure.low == figure.high):
            low, high = wilson(figure.value, max(int(of[name].sum()) // block, 1))
            scores[name] = replace(figure, low=low, high=high)
    return scores


def along(alarms: Array, strange: Array, scores: Array, near: int) -> dict[str, float]:
    """What alarms over time find of the stretches of strange steps, [step] each.

    "stretches_found": the share of them with an alarm inside; "located": 1 where the strangest step of all lies in one,
    or at most `near` steps away (the rule of the UCR anomaly archive: Wu & Keogh 2021). NaN where nothing is strange.
    """
    found = stretches(strange)
    if not found:
        return {"stretches_found": math.nan, "located": math.nan}
    place = int(scores.argmax())
    hit = [bool(alarms[first : last + 1].any()) for first, last in found]
    located = any(first - near <= place <= last + near for first, last in found)
    return {"stretches_found": float(np.mean(hit)), "located": float(located)}


def stretches(marked: Array) -> list[tuple[int, int]]:
    """(First, last) of every run of what is marked, bool [step].

    >>> stretches(np.array([True, False, True, True]))
    [(0, 0), (2, 3)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], marked.astype(np.int8), [0]])))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]


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

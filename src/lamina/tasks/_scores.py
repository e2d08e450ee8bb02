"""Figures of merit, each for many reweightings of the same rows at once. NumPy only.

A score is asked with `weight` [replicate, row], how often each row counts, and answers [replicate].
One row of ones gives the plain score; bootstrap counts give its replicates without touching the
answers again: sorting and comparing are done once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Weighted = Callable[[Array], Array]
"""weight [replicate, row] to scores [replicate]."""

Scorer = Callable[[Array], dict[str, Array]]
"""weight [replicate, row] to every score by name, [replicate] each."""

Counts = Callable[[Array], tuple[Array, Array, Array]]
Ranked = Callable[[Array], tuple[Array, Array]]

SMALLEST_PROBABILITY = 1e-12
LEAST_VARIED = 1e-12
"""A variance below this share of the mean square is what rounding leaves of none."""
FEW_CELLS = 128
"""Up to so many pairs of (true, answered) class, counting them is a matrix product."""


def together(scores: dict[str, Weighted], first: str, only: str = "") -> Scorer:
    """Several scores as one scorer, `first` first, or `only` one of them."""
    kept = {only: scores[only]} if only else {first: scores[first], **scores}
    return lambda weight: {name: score(weight) for name, score in kept.items()}


def plain(scorer: Scorer, rows: int) -> dict[str, float]:
    """Every score with each row counted once."""
    return {name: float(value[0]) for name, value in scorer(np.ones((1, rows))).items()}


def mean_of(values: Array) -> Weighted:
    """The mean of `values` [row]: accuracy, log loss, absolute error, ..."""
    values = np.asarray(values, dtype=np.float64)
    return lambda weight: _divided(weight @ values, weight.sum(axis=1))


def ratio_of(part: Array, whole: Array) -> Weighted:
    """The sum of `part` [row] over the sum of `whole` [row]: error rates of a corpus, ..."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return lambda weight: _divided(weight @ part, weight @ whole)


def class_counts(answer: Array, target: Array, classes: int) -> Counts:
    """Hits, occurrences and answers of each class: three [replicate, class] arrays for a weight."""
    cells, place = np.unique(target * classes + answer, return_inverse=True)
    true, said = cells // classes, cells % classes
    members = np.eye(len(cells))[place] if len(cells) <= FEW_CELLS else None

    def amounts(weight: Array) -> Array:
        if members is not None:
            return np.asarray(weight @ members)
        offset = len(cells) * np.arange(len(weight))[:, None]
        flat = np.bincount((place + offset).ravel(), weight.ravel(), len(cells) * len(weight))
        return flat.reshape(len(weight), len(cells))

    def count(weight: Array) -> tuple[Array, Array, Array]:
        found = amounts(weight)
        totals = np.zeros((3, len(weight), classes))
        for cell in range(len(cells)):
            totals[1, :, true[cell]] += found[:, cell]
            totals[2, :, said[cell]] += found[:, cell]
            if true[cell] == said[cell]:
                totals[0, :, true[cell]] += found[:, cell]
        return totals[0], totals[1], totals[2]

    return _remembered(count)


def balanced_accuracy(count: Counts) -> Weighted:
    """Mean recall over the classes that occur."""

    def score(weight: Array) -> Array:
        hit, true, _ = count(weight)
        return np.asarray(np.nanmean(_or_nan(_divided(hit, true)), axis=1))

    return score


def macro_f1(count: Counts) -> Weighted:
    """Mean F1 over the classes that occur or are answered."""

    def score(weight: Array) -> Array:
        hit, true, said = count(weight)
        return np.asarray(np.nanmean(_or_nan(_divided(2 * hit, true + said)), axis=1))

    return score


def f1(count: Counts, positive: int) -> Weighted:
    """F1 of one class; 0 where it is neither present nor answered."""

    def score(weight: Array) -> Array:
        hit, true, said = (part[:, positive] for part in count(weight))
        return np.nan_to_num(_divided(2 * hit, true + said))

    return score


def matthews(count: Counts) -> Weighted:
    """Matthews correlation for any number of classes (Gorodkin 2004); 0 where it is undefined."""

    def score(weight: Array) -> Array:
        hit, true, said = count(weight)
        total = weight.sum(axis=1)
        agreement = hit.sum(axis=1) * total - (true * said).sum(axis=1)
        spread = (total**2 - (said**2).sum(axis=1)) * (total**2 - (true**2).sum(axis=1))
        return np.nan_to_num(_divided(agreement, np.sqrt(np.maximum(spread, 0))))

    return score


def ranked(score: Array, positive: Array) -> Ranked:
    """Weights of positive and negative rows by ascending score, tied rows added up: two [replicate, value] arrays."""
    order = np.argsort(score, kind="stable")
    ascending = np.asarray(score)[order]
    starts = np.flatnonzero(np.r_[True, ascending[1:] != ascending[:-1]])
    right = np.asarray(positive)[order].astype(np.float64)

    def counts(weight: Array) -> tuple[Array, Array]:
        total = np.take(weight, order, axis=1)
        hits = total * right
        if len(starts) < len(order):
            hits, total = np.add.reduceat(hits, starts, axis=1), np.add.reduceat(total, starts, axis=1)
        return hits, total - hits

    return _remembered(counts)


def roc_auc(rank: Ranked) -> Weighted:
    """Share of (positive, negative) pairs in the right order, a tie counting half; NaN with one class only."""

    def area(weight: Array) -> Array:
        right, wrong = rank(weight)
        below = np.cumsum(wrong, axis=1) - wrong / 2
        pairs = np.einsum("ij,ij->i", right, below)
        return _divided(pairs, right.sum(axis=1) * wrong.sum(axis=1))

    return area


def average_precision(rank: Ranked) -> Weighted:
    """Area under the precision-recall steps, ties taken together; NaN without a positive row."""

    def area(weight: Array) -> Array:
        right, wrong = (part[:, ::-1] for part in rank(weight))
        hits = np.cumsum(right, axis=1)
        # Where nothing has been drawn yet both are 0, and so is the precision.
        precision = hits / np.maximum(hits + np.cumsum(wrong, axis=1), 1e-300)
        return _divided(np.einsum("ij,ij->i", precision, right), right.sum(axis=1))

    return area


def mean_average_precision(score: Array, positive: Array) -> Weighted:
    """Average precision of each column of [row, label], averaged over labels that occur."""
    columns = [average_precision(ranked(score[:, label], positive[:, label])) for label in range(score.shape[1])]

    def mean(weight: Array) -> Array:
        each = np.stack([column(weight) for column in columns], axis=1)
        present = np.isfinite(each)
        return _divided(np.where(present, each, 0).sum(axis=1), present.sum(axis=1))

    return mean


def label_f1(answer: Array, target: Array, average: str) -> Weighted:
    """F1 of [row, label] booleans: "micro" over all decisions, "macro" the mean over labels that occur or are given."""
    hit_rows, both_rows = (answer & target).astype(np.float64), answer.astype(np.float64) + target

    def score(weight: Array) -> Array:
        hit, both = weight @ hit_rows, weight @ both_rows
        if average == "micro":
            return np.nan_to_num(_divided(2 * hit.sum(axis=1), both.sum(axis=1)))
        return np.asarray(np.nanmean(_or_nan(_divided(2 * hit, both)), axis=1))

    return score


def root_mean_square(error: Array) -> Weighted:
    """Square root of the mean squared error."""
    mean = mean_of(np.asarray(error, dtype=np.float64) ** 2)
    return lambda weight: np.asarray(np.sqrt(mean(weight)))


def r_squared(answer: Array, target: Array) -> Weighted:
    """Share of the variance explained; NaN where the target does not vary."""
    # Centering first: the difference of two large sums would lose the digits that matter.
    centered = target - target.mean() if len(target) else target
    square, squared_error = mean_of(centered**2), mean_of((answer - target) ** 2)
    mean = mean_of(centered)

    def score(weight: Array) -> Array:
        whole = square(weight)
        varied = whole - mean(weight) ** 2
        # Rows that are all alike leave a difference of rounding, by which nothing may be divided.
        return 1 - _divided(squared_error(weight), np.where(varied > LEAST_VARIED * whole, varied, 0))

    return score


def median_of(values: Array) -> Weighted:
    """The median of `values` [row]."""
    order = np.argsort(values, kind="stable")
    ascending = np.asarray(values, dtype=np.float64)[order]

    def score(weight: Array) -> Array:
        reached = np.cumsum(weight[:, order], axis=1)
        half = reached[:, -1:] / 2
        # A median between two rows is their mean, as usual.
        first, second = (reached >= half).argmax(axis=1), (reached > half).argmax(axis=1)
        return np.asarray((ascending[first] + ascending[second]) / 2)

    return score


def log_softmax(logits: Array) -> Array:
    """[row, class] logits to log-probabilities, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def sigmoid(logits: Array) -> Array:
    """Logits to probabilities, in float64, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64))))


def _remembered(function: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """`function` that keeps its last answer: the scores of one weight ask for the same counts one after another."""
    last: list[Any] = [None, None]

    def answer(weight: Array) -> Any:
        if last[0] is not weight:
            last[:] = weight, function(weight)
        return last[1]

    return answer


def _divided(numerator: Array, denominator: Array) -> Array:
    """The quotient, NaN where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator != 0, np.divide(numerator, denominator), np.nan)


def _or_nan(values: Array) -> Array:
    """0 for rows with nothing to average, so that they score 0 without a warning."""
    empty = np.asarray(np.isnan(values).all(axis=1))
    return np.where(empty[:, None], 0.0, values)

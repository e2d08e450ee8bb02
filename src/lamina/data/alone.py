"""How well one column alone predicts a target, out of fold: a quick look for leaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.target_values import TargetValues

Array = np.ndarray[Any, Any]

FOLDS = 5
NUMBER_BINS = 64
LEVELS = 1_000
CLASSES = 200
"""More levels or classes than these: the rarest count as one."""
PRIOR = 1.0
"""Rows' worth of belief in the overall mean, for levels that were seen rarely."""


@dataclass(frozen=True)
class Alone:
    """How well a column does without the others.

    Attributes:
        strength: 0 (no better than a constant) to 1 (always right): for two classes 2 AUC - 1, for more the share
            of the mistakes of always answering the commonest class that it avoids, for numbers R2.
        text: the same as people say it, e.g. "AUC 0.993".
    """

    strength: float
    text: str


def number_bins(numbers: Array) -> Array:
    """int64 [row]: each value its own bin where there are few, else quantile bins; the last bin holds NaN."""
    present = ~np.isnan(numbers)
    distinct = np.unique(numbers[present])
    edges = distinct
    if len(distinct) > NUMBER_BINS:
        edges = np.unique(np.quantile(numbers[present], np.linspace(0, 1, NUMBER_BINS + 1)[1:-1]))
    found = np.full(len(numbers), len(edges) + 1, dtype=np.int64)
    found[present] = np.searchsorted(edges, numbers[present], side="right")
    return found


def level_bins(texts: Array) -> Array:
    """int64 [row]: a bin for each text (None included), the rarest beyond LEVELS together in one."""
    keys = np.array(["\0" if text is None else text for text in texts], dtype=object)
    _, codes, counts = np.unique(keys.astype(str), return_inverse=True, return_counts=True)
    return _commonest(codes, counts, LEVELS)


def _commonest(codes: Array, counts: Array, most: int) -> Array:
    """Codes by falling frequency, those from `most` on as one."""
    rank = np.empty(len(counts), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.minimum(rank[codes], most - 1)


def folds(rows: int, generator: np.random.Generator) -> Array:
    """The fold of each row, int64 [row]."""
    return generator.permutation(rows) % FOLDS


def alone(bins: Array, numbers: Array | None, target: TargetValues, rows: Array, fold: Array) -> Alone:
    """How well a column predicts `target` at `rows`, by the mean of its bin in the other folds.

    Args:
        bins: int64 [row] in the order of `rows`.
        numbers: the column as float64 [row], for a straight line as well where the target is a number; or None.
        fold: int64 [row].
    """
    if target.codes is not None:
        told = ~target.missing[rows]
        return _classes(bins[told], target.codes[rows][told], fold[told])
    assert target.numbers is not None
    wanted = target.numbers[rows]
    known = ~np.isnan(wanted)
    found = _numbers(bins[known], wanted[known], fold[known])
    if numbers is not None:
        both = known & ~np.isnan(numbers)
        if both.sum() > known.sum() / 2:
            found = max(found, _line(numbers[both], wanted[both], fold[both]) * float(both.sum() / known.sum()))
    return Alone(found, f"R2 {found:.3f}")


def _classes(bins: Array, codes: Array, fold: Array) -> Alone:
    codes = _commonest(codes, np.bincount(codes), CLASSES)
    width = int(codes.max(initial=0)) + 1
    if width < 2:
        return Alone(0.0, "one class only")
    levels = int(bins.max()) + 1
    answers = np.empty(len(codes))
    overall = np.bincount(bins * width + codes, minlength=levels * width).reshape(levels, width)
    for number in range(FOLDS):
        held = fold == number
        own = np.bincount(bins[held] * width + codes[held], minlength=levels * width).reshape(levels, width)
        counts = overall - own
        prior = counts.sum(axis=0) / max(counts.sum(), 1)
        shares = (counts + PRIOR * prior) / (counts.sum(axis=1, keepdims=True) + PRIOR)
        answers[held] = shares[bins[held], 1] if width == 2 else shares.argmax(axis=1)[bins[held]]
    if width == 2:
        area = area_under_curve(answers, codes == 1)
        return Alone(max(2 * area - 1, 0.0), f"AUC {area:.3f}")
    right, usual = float((answers == codes).mean()), float((codes == 0).mean())
    return Alone(max((right - usual) / max(1 - usual, 1e-12), 0.0), f"right in {right:.1%} of the rows")


def area_under_curve(scores: Array, positive: Array) -> float:
    """Area under the ROC curve, ties counted half (Mann and Whitney 1947)."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return 0.5
    return float((ranks[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def _numbers(bins: Array, wanted: Array, fold: Array) -> float:
    levels = int(bins.max()) + 1 if len(bins) else 1
    answers = np.empty(len(wanted))
    for number in range(FOLDS):
        held = fold == number
        other = ~held
        if not other.any():
            return 0.0
        sums = np.bincount(bins[other], weights=wanted[other], minlength=levels)
        counts = np.bincount(bins[other], minlength=levels)
        means = (sums + PRIOR * wanted[other].mean()) / (counts + PRIOR)
        answers[held] = means[bins[held]]
    return explained(wanted, answers)


def _line(numbers: Array, wanted: Array, fold: Array) -> float:
    answers = np.empty(len(wanted))
    for number in range(FOLDS):
        held = fold == number
        x, y = numbers[~held], wanted[~held]
        if not len(x):
            return 0.0
        spread = ((x - x.mean()) ** 2).sum()
        slope = ((x - x.mean()) * (y - y.mean())).sum() / spread if spread > 0 else 0.0
        answers[held] = y.mean() + slope * (numbers[held] - x.mean())
    return explained(wanted, answers)


def explained(wanted: Array, answers: Array) -> float:
    """R2, not below 0."""
    total = ((wanted - wanted.mean()) ** 2).sum()
    return float(max(1 - ((wanted - answers) ** 2).sum() / total, 0.0)) if total > 0 else 0.0

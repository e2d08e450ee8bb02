"""What a task learns from the validation part: temperature and conformal quantiles. NumPy only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError
from lamina.tasks._scores import log_softmax

Array = np.ndarray[Any, Any]

FEWEST = 20
"""Below so many validation rows nothing is calibrated: noise would be taken for signal."""


def temperature(logits: Array, target: Array) -> float:
    """The number that, dividing `logits` [row, class], makes `target` [row] most likely (Guo et al. 2017).

    A prior worth one row, lognormal around 1, keeps it finite when every row is right.
    """
    logits, rows = logits.astype(np.float64), np.arange(len(target))

    def cost(log_scale: float) -> float:
        return float(-log_softmax(logits / math.exp(log_scale))[rows, target].sum()) + log_scale**2

    return scale_by(cost, len(target))


def scale_by(cost: Callable[[float], float], rows: int) -> float:
    """The positive number whose logarithm costs least, by golden-section search in 1/20 to 20."""
    if rows < FEWEST:
        return 1.0
    golden = (math.sqrt(5) - 1) / 2
    low, high = -math.log(20), math.log(20)
    left, right = high - golden * (high - low), low + golden * (high - low)
    cost_left, cost_right = cost(left), cost(right)
    for _ in range(40):
        if cost_left <= cost_right:
            high, right, cost_right = right, left, cost_left
            left = high - golden * (high - low)
            cost_left = cost(left)
        else:
            low, left, cost_left = left, right, cost_right
            right = low + golden * (high - low)
            cost_right = cost(right)
    return math.exp((low + high) / 2)


def conformal_quantile(wrongness: Array, level: float) -> float:
    """The quantile of `wrongness` [row] that a new row exceeds with probability 1 - level at most.

    Split conformal prediction with the finite-sample correction (Vovk et al. 2005). With too few rows for
    the level it is the largest value seen.
    """
    if not len(wrongness):
        return 1.0
    rank = min(math.ceil((len(wrongness) + 1) * level), len(wrongness))
    return float(np.partition(wrongness, rank - 1)[rank - 1])


def read_threshold(value: Json, target: str) -> tuple[float, bool]:
    """The option "threshold": a probability, or (0.5, True) where it is to be chosen for the best F1.

    Raises:
        InputError: it is neither.
    """
    if value == "f1":
        return 0.5, True
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError(
            f"Option 'threshold' of target {target!r} is {value!r}.",
            where=f"task.{target}.options.threshold",
            fix='Give a number between 0 and 1, or "f1".',
        )
    return float(value), False


def best_threshold(probability: Array, positive: Array) -> float:
    """The probability from which on to say yes for the highest F1, halfway to the next row's; 0.5 without a yes."""
    if len(positive) < FEWEST or not positive.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    descending, hits = probability[order], np.cumsum(positive[order])
    quality = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    # Rows with one probability are answered alike: only the last of them is a place to cut.
    quality[:-1][descending[:-1] == descending[1:]] = -1
    best = int(np.argmax(quality))
    following = descending[best + 1] if best + 1 < len(descending) else 0.0
    return float(np.clip((descending[best] + following) / 2, 1e-6, 1 - 1e-6))

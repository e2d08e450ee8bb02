"""What streaming over a column leaves behind: exact counts and a fair sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

SAMPLE = 200_000
SEED = 20_190_417


@dataclass(frozen=True)
class Moments:
    """Exact figures of all finite values seen, and at most `SAMPLE` of them, sorted.

    Attributes:
        count: values that are numbers.
        missing: values that are not.
        low, high, mean: of the numbers; 0 where there are none.
        whole: every number is an integer.
        sample: float64, sorted; all numbers where they are few enough, else a uniform sample without replacement
            that depends on the values' order but not on how they were cut into chunks.
    """

    count: int
    missing: int
    low: float
    high: float
    mean: float
    whole: bool
    sample: np.ndarray[Any, Any]


def stream(chunks: Iterable[np.ndarray[Any, Any]], size: int = SAMPLE) -> Moments:
    """Moments of float64 chunks, NaN = missing (sampling by random keys: Efraimidis and Spirakis, 2006)."""
    random = np.random.default_rng(SEED)
    count, missing, total, whole = 0, 0, 0.0, True
    low, high = np.inf, -np.inf
    values, keys = np.empty(0), np.empty(0)
    for chunk in chunks:
        numbers = chunk[~np.isnan(chunk)]
        missing += len(chunk) - len(numbers)
        if not len(numbers):
            continue
        count += len(numbers)
        total = running_sum(total, numbers)
        low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
        whole = whole and bool((numbers == np.rint(numbers)).all())
        values = np.concatenate([values, numbers])
        keys = np.concatenate([keys, random.random(len(numbers))])
        if len(values) > 2 * size:
            values, keys = _smallest(values, keys, size)
    values, _ = _smallest(values, keys, size)
    if not count:
        return Moments(0, missing, 0.0, 0.0, 0.0, whole, values)
    return Moments(count, missing, low, high, total / count, whole, np.sort(values))


def running_sum(total: float, numbers: np.ndarray[Any, Any]) -> float:
    """`total` plus the numbers, one after the other: the same bits however a column is cut into chunks."""
    return float(np.cumsum(np.concatenate([[total], numbers]))[-1])


def _smallest(
    values: np.ndarray[Any, Any], keys: np.ndarray[Any, Any], size: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    if len(values) <= size:
        return values, keys
    kept = np.sort(np.argpartition(keys, size)[:size])
    return values[kept], keys[kept]

"""How sure is a figure? Bootstrap intervals, plain and paired (Efron 1979); of shares, Wilson's and Tango's."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from lamina.evaluate.results import Interval
from lamina.tasks._scores import Scorer

Array = np.ndarray[Any, Any]

LEVEL = 0.95
WORK = 10_000_000
"""Rows times replicates drawn at most; beyond, replicates are saved, down to FEWEST."""
FEWEST = 200
BLOCK = 500_000
HALVINGS = 40


def replicates(rows: int, wanted: int = 1000) -> int:
    """How many bootstrap replicates to draw for `rows` rows: `wanted`, or fewer where rows are many."""
    return max(min(wanted, FEWEST), min(wanted, WORK // max(rows, 1)))


def resampled(rows: int, count: int, seed: int) -> Iterator[Array]:
    """How often each row is drawn, [replicate, row] float64, in blocks that keep memory flat."""
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // max(rows, 1))
    for start in range(0, count, block):
        size = min(block, count - start)
        drawn = generator.integers(0, rows, (size, rows))
        drawn += rows * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)


def bootstrap_scores(
    scorers: Mapping[str, Scorer], rows: int, seed: int = 0, wanted: int = 1000, units: Array | None = None
) -> dict[str, dict[str, Array]]:
    """Replicates of every score of several models on the same resampled rows.

    Because the rows are the same, differences between two models' replicates are paired.

    Args:
        units: [row], equal for rows that are no independent draws, such as parts of one picture: they are drawn
            together (the cluster bootstrap; Davison and Hinkley 1997); None where every row is drawn by itself.

    Returns:
        Model to score to [replicate].
    """
    parts: dict[str, dict[str, list[Array]]] = {name: {} for name in scorers}
    unit = np.arange(rows) if units is None else np.unique(units, return_inverse=True)[1]
    together = int(unit.max(initial=-1)) + 1
    for drawn in resampled(together, replicates(rows, wanted), seed):
        weight = drawn if together == rows else drawn[:, unit]
        for name, scorer in scorers.items():
            for score, values in scorer(weight).items():
                parts[name].setdefault(score, []).append(values)
    return {name: {score: np.concatenate(values) for score, values in scores.items()} for name, scores in parts.items()}


def percentile(value: float, drawn: Array, level: float = LEVEL) -> tuple[float, float]:
    """The middle `level` of the replicates; undefined ones are left out. Holds `value`."""
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn) or not math.isfinite(value):
        return math.nan, math.nan
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return min(float(low), value), max(float(high), value)


def wilson(share: float, rows: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a share of `rows` (Wilson 1927): honest where the bootstrap has no spread, at 0 and 1.

    Args:
        rows: independent ones; those that are not may be worth a number that is not whole.
    """
    if not rows:
        return math.nan, math.nan
    z = normal_quantile((1 + level) / 2)
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))


def tango(only_first: int, only_second: int, rows: int, level: float = LEVEL) -> tuple[float, float]:
    """Interval of the difference between two shares of the same `rows`: Tango's score interval (1998).

    Two tools that differ in few rows are compared by those rows alone, and the bootstrap, which can draw no row that
    was not there, calls a handful of them certain. This interval excludes 0 just where McNemar's test (1947) does.

    Args:
        only_first, only_second: rows that only the first, only the second has right.
    """
    if not rows:
        return math.nan, math.nan
    z = normal_quantile((1 + level) / 2)
    apart = only_first - only_second

    def inside(difference: float) -> bool:
        """Is the difference that is seen one that the true one would bring?"""
        linear = (2 * rows - apart) * difference - only_first - only_second
        constant = -only_second * difference * (1 - difference)
        # The share of rows that only the second has right, by maximum likelihood under this difference.
        share = (math.sqrt(max(0.0, linear**2 - 8 * rows * constant)) - linear) / (4 * rows)
        variance = rows * (2 * share + difference * (1 - difference))
        return (apart - rows * difference) ** 2 <= z * z * variance

    return _edge(inside, apart / rows, -1.0), _edge(inside, apart / rows, 1.0)


def _edge(inside: Callable[[float], bool], kept: float, beyond: float) -> float:
    """Where an interval that holds `kept` ends on the way to `beyond`, by halving."""
    for _ in range(HALVINGS):
        middle = (kept + beyond) / 2
        kept, beyond = (middle, beyond) if inside(middle) else (kept, middle)
    return kept


def normal_quantile(probability: float) -> float:
    """The standard normal distribution's quantile."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


def bootstrap(score: Callable[..., float], *arrays: Array, n: int = 1000, seed: int = 0) -> Interval:
    """A score of any kind with its percentile interval: `score(*arrays)`, rows along the first axis.

    Costs n calls of `score`; `bootstrap_scores` is much faster for a task's own scores.
    """
    value = float(score(*arrays))
    low, high = percentile(value, _drawn(score, arrays, n, seed))
    return Interval(value, low, high)


def paired_bootstrap(
    score: Callable[..., float], first: tuple[Array, ...], second: tuple[Array, ...], n: int = 1000, seed: int = 0
) -> Interval:
    """`score(*first) - score(*second)` with its interval, both on the same resampled rows."""
    value = float(score(*first)) - float(score(*second))
    drawn = _drawn(score, first, n, seed) - _drawn(score, second, n, seed)
    low, high = percentile(value, drawn)
    return Interval(value, low, high)


def _drawn(score: Callable[..., float], arrays: tuple[Array, ...], n: int, seed: int) -> Array:
    rows = len(arrays[0])
    generator = np.random.default_rng(seed)
    found = np.empty(replicates(rows, n))
    for number in range(len(found)):
        index = generator.integers(0, rows, rows)
        found[number] = score(*(array[index] for array in arrays))
    return found

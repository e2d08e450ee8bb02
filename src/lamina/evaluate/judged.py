"""Scores as functions of how often each row counts: one figure, its interval, and its difference to those of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lamina.evaluate.intervals import percentile, replicates, resampled
from lamina.evaluate.results import BaselineResult, Interval

Array = np.ndarray[Any, Any]
Weighted = Callable[[Array], Array]
"""From how often each row counts, [replicate, row], to a score by replicate."""


@dataclass(frozen=True)
class Judged:
    """Scores of one model on the test rows, each as a function of the rows' weights.

    Attributes:
        intervals: of scores that have a better one than drawing rows gives.
    """

    name: str
    scores: Mapping[str, Weighted]
    seconds: float = 0.0
    note: str = ""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def compared(
    own: Judged, others: Sequence[Judged], rows: int, seed: int, *, block: int = 1, lower: Collection[str] = ()
) -> tuple[dict[str, Interval], tuple[BaselineResult, ...]]:
    """(Scores with intervals, the others with theirs and the paired difference of the first score).

    Of one row alone, or one block, there is no interval: drawn again and again it is always the same.

    Args:
        rows: of which weights say how often each counts.
        block: rows that are drawn together: neighbours in time are no independent witnesses (the block bootstrap of
            Carlstein 1986, "The use of subseries values for estimating the variance of a general statistic").
        lower: scores of which less is better; a positive difference always says that `own` is better.
    """
    blocks = -(-rows // block)
    drawn_blocks = np.concatenate(list(resampled(blocks, replicates(rows), seed)))
    weights = np.repeat(drawn_blocks, block, axis=1)[:, :rows]
    once = np.ones((1, rows))

    def ends(value: float, drawn: Array) -> tuple[float, float]:
        return percentile(value, drawn) if blocks > 1 else (math.nan, math.nan)

    def figures(judged: Judged) -> tuple[dict[str, Interval], dict[str, Array]]:
        drawn = {score: one(weights) for score, one in judged.scores.items()}
        found = {}
        for score, one in judged.scores.items():
            value = float(one(once)[0])
            low, high = judged.intervals.get(score) or ends(value, drawn[score])
            found[score] = Interval(value, low, high, score not in lower)
        return found, drawn

    scores, drawn = figures(own)
    primary = next(iter(scores))
    baselines = []
    for other in others:
        theirs, their_draws = figures(other)
        sign = -1.0 if primary in lower else 1.0
        apart = sign * (scores[primary].value - theirs[primary].value)
        low, high = ends(apart, sign * (drawn[primary] - their_draws[primary]))
        baselines.append(BaselineResult(other.name, theirs, other.seconds, Interval(apart, low, high), other.note))
    return scores, tuple(baselines)

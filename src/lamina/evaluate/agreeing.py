"""How nearly two networks say the same where no answer is known to be right: neighbors, ranks, clusters; NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.evaluate.judged import Judged, Weighted, compared
from lamina.evaluate.results import Interval
from lamina.tasks import Answering, anomaly, cluster, embed

Array = np.ndarray[Any, Any]

NEAREST = 10
MOST = 2_000
"""Rows among which neighbors are looked for: all are compared with all."""
TIE = 1e-6
"""A likeness so much lower than that of the last neighbor is as good."""
MEASURED = (anomaly.Task, cluster.Task, embed.Task)
"""Of whose answers it can be said how much stays."""
NEIGHBORS, RANKS, CLUSTERS = "neighbors_kept", "rank_agreement", "same_clusters"


def agrees(task: Answering, before: Array, after: Array, seed: int = 0) -> tuple[str, Interval] | None:
    """(What is measured, how much of it stays; 1 is all) of outputs [row, width]; None where nothing can be said.

    Vectors keep a share of the nearest others ("neighbors_kept"), strangeness its order ("rank_agreement": Spearman's
    correlation of ranks, 1904), clusters the same rows ("same_clusters").
    """
    one, other = (np.asarray(outputs, np.float64) for outputs in (before, after))
    if len(one) < 3:
        return None
    if isinstance(task, embed.Task):
        rows = np.unique(np.linspace(0, len(one) - 1, min(MOST, len(one))).astype(np.int64))
        return NEIGHBORS, _mean(NEIGHBORS, neighbors_kept(one[rows], other[rows]), seed)
    if isinstance(task, cluster.Task):
        first, second = (task.decode(outputs)[""] for outputs in (before, after))
        same = [left == right for left, right in zip(first, second, strict=True)]
        return CLUSTERS, _mean(CLUSTERS, np.array(same, np.float64), seed)
    if isinstance(task, anomaly.Task):
        ranks = [_ranks(task.strangeness(outputs)) for outputs in (one, other)]
        scores, _ = compared(Judged("", {RANKS: _correlation(*ranks)}), (), len(one), seed)
        return RANKS, scores[RANKS]
    return None


def neighbors_kept(before: Array, after: Array, most: int = NEAREST) -> Array:
    """[row]: the share of the nearest others by `after` that are among the nearest by `before`, vectors of length 1.

    What is as near as the last of these counts as one of them: of equals any may be found.
    """
    number, rows = min(most, len(before) - 1), np.arange(len(before))
    likeness, small = before @ before.T, after @ after.T
    likeness[rows, rows] = small[rows, rows] = -np.inf
    found = np.argpartition(-small, number - 1, axis=1)[:, :number]
    least = -np.partition(-likeness, number - 1, axis=1)[:, number - 1 : number]
    kept: Array = np.take_along_axis(likeness, found, axis=1) >= least - TIE
    return np.asarray(kept.mean(axis=1))


def _mean(name: str, values: Array, seed: int) -> Interval:
    def mean(weights: Array) -> Array:
        return np.asarray(weights @ values / weights.sum(axis=1))

    return compared(Judged("", {name: mean}), (), len(values), seed)[0][name]


def _ranks(values: Array) -> Array:
    """[row]: places in ascending order, of equals their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[place], np.float64)


def _correlation(one: Array, other: Array) -> Weighted:
    """Pearson's, of how often each row counts; NaN where all are equal."""

    def correlation(weights: Array) -> Array:
        total = weights.sum(axis=1)
        means = [weights @ part / total for part in (one, other)]
        both = weights @ (one * other) / total - means[0] * means[1]
        spreads = [weights @ part**2 / total - mean**2 for part, mean in zip((one, other), means, strict=True)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(both / np.sqrt(spreads[0] * spreads[1]))

    return correlation

"""How good are forecasts? Errors of the middle, the pinball loss of quantiles, the share that intervals hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lamina.evaluate.intervals import wilson
from lamina.evaluate.judged import Judged, Weighted
from lamina.tasks.forecast import QUANTILES, percent, shares_of

Array = np.ndarray[Any, Any]
MASE, MAE, RMSE, PINBALL, COVERED = "mase", "mae", "rmse", "pinball", "coverage"
ERRORS = (MASE, MAE, RMSE, PINBALL)
"""Scores of which less is better."""
ORDER = (*ERRORS, COVERED)
FEW_SERIES = 10
"""From so many series on they are what is drawn for intervals; of fewer, origins are, if these are not fewer still."""


def clusters(series: Array, origins: Array) -> tuple[Array, str]:
    """(int64 [window], what is drawn together for intervals; what that is)."""
    apart = len(np.unique(series))
    by_series = apart >= FEW_SERIES or apart > len(np.unique(origins))
    keys = series if by_series else origins
    return np.unique(keys, return_inverse=True)[1], "series" if by_series else "origins"


def pinball(quantiles: Array, truth: Array, levels: Sequence[float] = QUANTILES) -> Array:
    """[row, step]: the mean over quantiles of the pinball loss (Koenker & Bassett 1978), NaN where nothing is known.

    Args:
        quantiles: [row, step, quantile].
        truth: [row, step].
        levels: of the quantiles.
    """
    above = truth[:, :, None] - quantiles
    shares = np.array(levels)
    return np.asarray(np.maximum(shares * above, (shares - 1) * above).mean(axis=2))


def judged(
    name: str, quantiles: Array, truth: Array, units: Array | None, cluster: Array, *, primary: str,
    levels: Sequence[float] = QUANTILES, pairs: int = len(QUANTILES) // 2, seconds: float = 0.0, note: str = "",
) -> Judged:  # fmt: skip
    """All scores as functions of how often each cluster counts; `primary` comes first.

    MASE is the absolute error in units of the seasonal naive forecast's within the training part (Hyndman & Koehler
    2006); the pinball loss is in the same units, so that large series do not hide small ones.

    Args:
        quantiles: [row, step, quantile].
        truth: [row, step], NaN where it is not known: nothing is scored there.
        units: [row], of the row's series; None leaves out what is told in them.
        cluster: int64 [row], what is drawn together: a series, or an origin.
        levels: of the quantiles.
        pairs: intervals that are answered, the widest ones: what they hold is scored, each by itself.
    """
    middle = quantiles[:, :, len(levels) // 2]
    held = {
        covered(share, not pair): inside(quantiles, truth, pair) for pair, share in enumerate(shares_of(levels)[:pairs])
    }
    each = {MAE: np.abs(middle - truth), RMSE: (middle - truth) ** 2, **held}
    if units is not None:
        each |= {MASE: each[MAE] / units[:, None], PINBALL: pinball(quantiles, truth, levels) / units[:, None]}
    ordered = {score: each[score] for score in (primary, *ORDER, *held) if score in each}
    scores: Mapping[str, Weighted] = {
        score: _mean(values, cluster, np.sqrt if score == RMSE else None) for score, values in ordered.items()
    }
    sure = {score: share_interval(values, cluster) for score, values in held.items()}
    return Judged(name, scores, seconds, note, sure)


def covered(share: float, widest: bool) -> str:
    """What the score is called that says which share of the truth such an interval held."""
    return COVERED if widest else f"{COVERED}.{percent(share)}"


def inside(quantiles: Array, truth: Array, pair: int) -> Array:
    """[row, step]: 1 where an interval holds the truth, 0 where it does not, NaN where the truth is not known.

    Args:
        pair: the interval, 0 the widest.
    """
    low, high = quantiles[:, :, pair], quantiles[:, :, -1 - pair]
    return np.where(np.isfinite(truth), (truth >= low) & (truth <= high), np.nan)


def share_interval(inside: Array, cluster: Array) -> tuple[float, float]:
    """The 95% interval of the share of ones among known values, those of one cluster being no independent witnesses.

    Wilson's (1927), of the effective sample size (Kish 1965): as many independent values as would vary like the
    clusters' shares do. A share of 0 or 1, where nothing varies, is one of as many values as there are clusters.

    Args:
        inside: [row, step], 0 or 1, NaN where it is not known.
        cluster: int64 [row].
    """
    known = np.isfinite(inside)
    sums = np.bincount(cluster, weights=np.where(known, inside, 0).sum(axis=1))
    counts = np.bincount(cluster, weights=known.sum(axis=1))
    clusters, values = int((counts > 0).sum()), int(counts.sum())
    if clusters < 2:
        return math.nan, math.nan
    share = float(sums.sum() / values)
    if share in (0, 1):
        return wilson(share, clusters)
    variance = clusters / (clusters - 1) * float(((sums - share * counts) ** 2).sum()) / values**2
    worth = share * (1 - share) / variance if variance > 0 else math.inf
    return wilson(share, min(worth, values))


def _mean(values: Array, cluster: Array, then: Callable[[Array], Array] | None) -> Weighted:
    """The mean of all known values, clusters counting as often as they are drawn."""
    known = np.isfinite(values)
    sums = np.bincount(cluster, weights=np.where(known, values, 0).sum(axis=1))
    counts = np.bincount(cluster, weights=known.sum(axis=1))

    def score(weights: Array) -> Array:
        total = weights @ counts
        found = np.where(total > 0, weights @ sums / np.maximum(total, 1e-12), np.nan)
        return np.asarray(found if then is None else then(found))

    return score


def by_step(quantiles: Array, truth: Array) -> Array:
    """[step]: the mean absolute error of each step ahead."""
    return np.asarray(np.nanmean(np.abs(quantiles[:, :, quantiles.shape[2] // 2] - truth), axis=0))

"""Forecasts without a network: the last value, the last season, exponential smoothing, and boosted trees on lags."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.narrate import Narrator
from lamina.steps.forecast import smoothing, trees
from lamina.steps.forecast.series import Panel, filled_forward
from lamina.tasks.forecast import QUANTILES

Array = np.ndarray[Any, Any]
Points = Callable[[Array, Array], Array]
"""From series and origins, int64 [row] each, to forecasts, float64 [row, step]."""
NAIVE, SEASONAL, SMOOTHING, TREES = "naive", "seasonal naive", "exponential smoothing", "gradient-boosted trees on lags"
LONGEST_SMOOTHED = 20_000
"""Steps of the training part that exponential smoothing is fitted on at most, the last ones."""


@dataclass(frozen=True)
class Simple:
    """A simpler forecaster.

    Attributes:
        name, note: for the reader.
        points: the forecasts.
        seconds: to fit.
        answering: seconds for one window.
        errors: float64 [step, quantile], what errors of the validation part were, in units of each series.
    """

    name: str
    points: Points
    seconds: float
    answering: float
    errors: Array
    note: str = ""

    def quantiles(self, series: Array, origins: Array, units: Array) -> Array:
        """float64 [row, step, quantile]: the forecasts with errors as they were on the validation part.

        Args:
            units: of all series.
        """
        points = self.points(series, origins)
        return np.asarray(points[:, :, None] + units[series][:, None, None] * self.errors)


def fit(
    panel: Panel,
    training: tuple[Array, Array],
    validation: tuple[Array, Array],
    narrator: Narrator,
    *,
    seed: int,
    seconds: float,
    about: Array | None = None,
    levels: Sequence[float] = QUANTILES,
) -> tuple[Simple, ...]:
    """All of them, fitted on the training part.

    Args:
        training, validation: windows as series and origins.
        seconds: for the trees, about.
        about: [series, feature], what describes each series, for the trees.
        levels: the quantiles that are asked for.
    """
    described = np.zeros((len(panel.names), 0)) if about is None else about
    ways: dict[str, Callable[[], tuple[Points, str]]] = {
        NAIVE: lambda: (_naive(panel, 1), ""),
        SEASONAL: lambda: (_naive(panel, panel.season), f"the last season of {panel.season} steps"),
        SMOOTHING: lambda: (_smoothed(panel), f"season of {panel.season} steps" if panel.season > 1 else ""),
        TREES: lambda: trees.fit(panel, training, validation, described, seed=seed, seconds=seconds),
    }
    if panel.season == 1:
        del ways[SEASONAL]
    found = []
    for name, fitted in ways.items():
        begin = time.monotonic()
        points, note = fitted()
        spent = time.monotonic() - begin
        truth = panel.tracks.values(*validation, np.arange(panel.horizon))
        apart = (truth - points(*validation)) / panel.units[validation[0]][:, None]
        answering = (time.monotonic() - begin - spent) / len(truth)
        with np.errstate(invalid="ignore"):
            errors = np.nanquantile(apart, levels, axis=0).T
        found.append(Simple(name, points, spent, answering, _around_the_middle(np.nan_to_num(errors)), note))
        narrator.say(f"{name}{f' ({note})' if note else ''}: mean absolute scaled error "
                     f"{np.nanmean(np.abs(apart)):.4g} on the validation part")  # fmt: skip
    return tuple(found)


def _around_the_middle(errors: Array) -> Array:
    """[step, quantile], ascending, of errors of either sign: 0 in the middle.

    A rule that is asked for one number gives that one, and its score is that of the rule, even where it always errs to
    one side; the ends of its interval still reach as far as its errors did.
    """
    found, middle = errors.copy(), errors.shape[1] // 2
    found[:, :middle] = np.minimum(found[:, :middle], 0.0)
    found[:, middle] = 0.0
    found[:, middle + 1 :] = np.maximum(found[:, middle + 1 :], 0.0)
    return found


def _naive(panel: Panel, season: int) -> Points:
    """The last value, or that of the last season, again and again."""

    def points(series: Array, origins: Array) -> Array:
        back = max(season, panel.encoder.length)
        before = filled_forward(panel.tracks.values(series, origins, np.arange(-back, 0)))
        last = before[:, -1:]
        again = before[:, back - season + np.arange(panel.horizon) % season]
        return np.where(np.isfinite(again), again, last)

    return points


def _smoothed(panel: Panel) -> Points:
    tracks = panel.tracks
    ends = np.maximum(panel.validation - tracks.starts, 1)
    starts = tracks.starts + np.maximum(ends - LONGEST_SMOOTHED, 0)
    span = int((tracks.starts + tracks.sizes - starts).max())
    values = tracks.values(np.arange(len(tracks)), starts, np.arange(span))
    fitted = smoothing.fit(values, panel.season, np.minimum(ends, LONGEST_SMOOTHED))

    def points(series: Array, origins: Array) -> Array:
        found = np.full((len(series), panel.horizon), np.nan)
        own = origins - starts[series]
        for origin, forecast in fitted.forecasts(values, np.unique(own), panel.horizon):
            here = own == origin
            found[here] = forecast[series[here]]
        return found

    return points

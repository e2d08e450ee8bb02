"""Exponential smoothing with a damped trend and seasons, for many series at once.

Holt (1957), Winters (1960), Gardner & McKenzie (1985) for the damping. Additive; on the logarithm where that does
better and all values are positive, which makes season and trend multiplicative. Smoothing parameters are chosen by the
squared errors of forecasts one step ahead on the training part, from a grid of them that runs side by side.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LEVELS = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.99)
TRENDS = (0.0, 0.02, 0.1, 0.3)
SEASONAL = (0.0, 0.05, 0.15, 0.4)
DAMPED = (0.9, 0.98)
BLOCK = 4e6
"""Numbers of seasons that are held at a time: series are dealt with in blocks."""
OVERFLOW = 300.0


@dataclass(frozen=True)
class Parameters:
    """Of each series or trial, all arrays of one shape.

    Attributes:
        level, trend, seasonal: how much of an error is taken over; the trend's as a share of the level's, the seasonal
            one's as a share of what the level leaves.
        damping: what is left of the trend after each step.
    """

    level: Array
    trend: Array
    seasonal: Array
    damping: Array

    def of(self, place: Array) -> Parameters:
        """Those at `place`."""
        return Parameters(self.level[place], self.trend[place], self.seasonal[place], self.damping[place])


class Smoother:
    """The state of exponential smoothing, [series, trial], fed step by step.

    Args:
        begin: float64 [series, step], the first values, NaN where there is none: level and season begin as they say.
        season: steps; 1 for none.
        parameters: of shape [series, trial] or [1, trial].
    """

    def __init__(self, begin: Array, season: int, parameters: Parameters) -> None:
        trials = parameters.level.shape[1]
        level, seasons = start(begin, season)
        self.level = np.repeat(level[:, None], trials, axis=1)
        self.trend = np.zeros_like(self.level)
        self.seasons = np.repeat(seasons[:, None, :], trials, axis=1)
        self.parameters, self.season, self.step = parameters, season, 0

    def expected(self) -> Array:
        """[series, trial]: the forecast of the next step."""
        return np.asarray(
            self.level + self.parameters.damping * self.trend + self.seasons[:, :, self.step % self.season]
        )

    def see(self, value: Array) -> None:
        """Take in the next values, [series]; a series without one goes on as it is expected to."""
        parameters, place = self.parameters, self.step % self.season
        error = np.where(np.isfinite(value), value, np.nan)[:, None] - self.expected()
        error = np.where(np.isfinite(error), error, 0.0)
        damped = parameters.damping * self.trend
        self.level = self.level + damped + parameters.level * error
        self.trend = damped + parameters.level * parameters.trend * error
        if self.season > 1:
            self.seasons[:, :, place] += parameters.seasonal * (1 - parameters.level) * error
        self.step += 1

    def forecast(self, horizon: int) -> Array:
        """[series, trial, step]."""
        ahead = np.arange(1, horizon + 1)
        damping = self.parameters.damping[..., None]
        sums = np.cumsum(damping**ahead, axis=-1)
        season = self.seasons[:, :, (self.step + ahead - 1) % self.season]
        return np.asarray(self.level[:, :, None] + self.trend[:, :, None] * sums + season)


def start(begin: Array, season: int) -> tuple[Array, Array]:
    """([series] the level, [series, season] how far each place in the season lies from it, on average)."""
    known = np.isfinite(begin)
    level = np.where(known, begin, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    if season == 1:
        first = begin[np.arange(len(begin)), known.argmax(axis=1)]
        return np.where(known.any(axis=1), first, 0.0), np.zeros((len(begin), 1))
    steps = np.arange(begin.shape[1])
    # A trend within the first seasons is no season.
    middle = np.where(known, steps, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    spread = np.where(known, (steps - middle[:, None]) ** 2, 0).sum(axis=1)
    slope = np.where(known, (steps - middle[:, None]) * (begin - level[:, None]), 0).sum(axis=1) / np.maximum(spread, 1)
    line = level[:, None] + slope[:, None] * (steps - middle[:, None])
    apart = np.where(known, begin - line, 0.0)
    seasons = np.zeros((len(begin), season))
    for place in range(season):
        own = slice(place, None, season)
        seasons[:, place] = apart[:, own].sum(axis=1) / np.maximum(known[:, own].sum(axis=1), 1)
    return line[:, 0], seasons


def trials(season: int) -> Parameters:
    """All parameters that are tried, [1, trial] each."""
    grid = itertools.product(LEVELS, TRENDS, SEASONAL if season > 1 else (0.0,), DAMPED)
    # Without a trend its damping plays no role.
    chosen = np.array([item for item in grid if item[1] or item[3] == DAMPED[0]]).T[:, None, :]
    return Parameters(*chosen)


@dataclass(frozen=True)
class Smoothing:
    """Exponential smoothing of some series with the parameters chosen for each.

    Attributes:
        season: steps.
        parameters: [series, 1].
        logs: bool [series], whether the logarithm is smoothed.
        ends: int64 [series], the step that the training part ends before: level and season begin as the values up to
            there say.
    """

    season: int
    parameters: Parameters
    logs: Array
    ends: Array

    def forecasts(self, values: Array, origins: Array, horizon: int) -> Iterator[tuple[int, Array]]:
        """(origin, [series, step] the forecast of the steps from it on), origins ascending.

        Args:
            values: float64 [series, step], each from its own first value on.
            origins: int64, ascending; nothing from an origin on is seen.
        """
        shown = _shown(values, self.logs)
        state = Smoother(_begin(_until(shown, self.ends), self.season), self.season, self.parameters)
        for origin in origins.tolist():
            while state.step < origin:
                state.see(shown[:, state.step])
            found = state.forecast(horizon)[:, 0]
            yield origin, np.where(self.logs[:, None], np.exp(np.clip(found, -OVERFLOW, OVERFLOW)), found)


def fit(values: Array, season: int, ends: Array) -> Smoothing:
    """Choose each series' parameters.

    Args:
        values: float64 [series, step], each from its own first value on, NaN where there is none.
        season: steps; 1 for none.
        ends: int64 [series], the step that the training part ends before.
    """
    trained = _until(values, ends)
    ways = trials(season)
    block = max(1, int(BLOCK / (ways.level.shape[1] * season)))
    parts = [_fit(trained[first : first + block], season, ways) for first in range(0, len(values), block)]
    chosen = np.concatenate([part[0] for part in parts])
    picked = [getattr(ways, name)[0, chosen][:, None] for name in ("level", "trend", "seasonal", "damping")]
    return Smoothing(season, Parameters(*picked), np.concatenate([part[1] for part in parts]), ends)


def _fit(values: Array, season: int, ways: Parameters) -> tuple[Array, Array]:
    """(int64 [series], the best trial; bool [series], whether of the logarithm)."""
    with np.errstate(invalid="ignore"):
        positive = np.asarray((np.where(np.isfinite(values), values, 1.0) > 0).all(axis=1))
    plain = _errors(values, np.zeros(len(values), bool), season, ways)
    logarithmic = _errors(values, positive, season, ways)
    logs = positive & (logarithmic.min(axis=1) < plain.min(axis=1))
    return np.where(logs, logarithmic.argmin(axis=1), plain.argmin(axis=1)), logs


def _errors(values: Array, logs: Array, season: int, ways: Parameters) -> Array:
    """[series, trial]: squared errors one step ahead, in the values' own units, after the first seasons."""
    shown = _shown(values, logs)
    state, total = Smoother(_begin(shown, season), season, ways), np.zeros((len(values), ways.level.shape[1]))
    first = min(2 * season, values.shape[1] // 2)
    last = int(np.flatnonzero(np.isfinite(values).any(axis=0))[-1]) + 1 if np.isfinite(values).any() else 0
    for step in range(last):
        if step >= first:
            expected = state.expected()
            expected = np.where(logs[:, None], np.exp(np.clip(expected, -OVERFLOW, OVERFLOW)), expected)
            error = values[:, step, None] - expected
            total += np.where(np.isfinite(error), error, 0.0) ** 2
        state.see(shown[:, step])
    return total


def _shown(values: Array, logs: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(logs[:, None], np.log(values), values)


def _until(values: Array, ends: Array) -> Array:
    """The values of each series before a step; NaN from there on."""
    return np.where(np.arange(values.shape[1]) < ends[:, None], values, np.nan)


def _begin(values: Array, season: int) -> Array:
    """The first values, which the smoothing begins from: three seasons."""
    return values[:, : 3 * season if season > 1 else 1]

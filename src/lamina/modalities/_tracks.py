"""Series on a grid, and the windows that are cut from them: the same code for training and for the sealed model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from lamina.modalities._grid import Grid

Array = np.ndarray[Any, Any]
Center = Literal["mean", "last"]

TARGET, OBSERVED, CENTER, SPREAD, STEP, PLAIN = range(6)
"""Channels of a window; those of the calendar and of covariates begin at PLAIN."""
MOST_KNOWN = 0.5
"""The least share of the steps to come that must have what is known in advance; the others take it from before."""
SOME = 8192
"""Windows that are looked at together."""
SPARSE = 20
"""The calendar is kept of so many steps for each one of a series: one with wrong dates, decades away from all others,
must not fill the memory."""
FLAT = 1e-3
"""A window's spread is at least this share of its center: of one that hardly varies, rounding would be blown up."""


@dataclass(frozen=True)
class Track:
    """One series, step after step from the first value of its target on.

    Attributes:
        start: the step of the grid that it begins with.
        target: float64 [step], NaN where there is no value.
        covariates: float32 [step, column], NaN where there is no value.
    """

    start: int
    target: Array
    covariates: Array

    @property
    def end(self) -> int:
        """The step after the last value of the target."""
        return self.start + int(np.flatnonzero(np.isfinite(self.target))[-1]) + 1


@dataclass(frozen=True)
class Layout:
    """What a window holds.

    Attributes:
        length, horizon: steps before and after the origin.
        center: what is taken from the target's values: their mean, or the last one.
        filled: gaps up to so many steps are filled with the value before them.
        spans: of each covariate, its first column, the one after the last, and whether it is known in advance.
        parts: of the calendar.
        unit: the spread of a window of zeros, which has none and no size of its own.
    """

    length: int
    horizon: int
    center: Center
    filled: int
    spans: tuple[tuple[int, int, bool], ...]
    parts: tuple[str, ...]
    unit: float


class Tracks:
    """Many series one after the other, for windows in bulk."""

    def __init__(self, tracks: Sequence[Track], grid: Grid, layout: Layout) -> None:
        self.grid, self.layout = grid, layout
        self.starts = np.array([track.start for track in tracks], np.int64)
        self.ends = np.array([track.end for track in tracks], np.int64)
        self.sizes = np.array([len(track.target) for track in tracks], np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.sizes)])
        self.target = np.concatenate([track.target for track in tracks])
        self.covariates = np.concatenate([track.covariates for track in tracks])
        self._target_at = _before(np.isfinite(self.target))
        self._known_at = [_before(np.isfinite(self.covariates[:, first])) for first, _, _ in layout.spans]
        self._first = int(self.starts.min())
        last = int((self.starts + self.sizes).max()) + layout.horizon
        dense = last - self._first <= SPARSE * (len(self.target) + len(tracks) * layout.horizon)
        self._calendar = grid.calendar(np.arange(self._first, last), layout.parts) if dense else None

    def __len__(self) -> int:
        return len(self.starts)

    def values(self, series: Array, origins: Array, ahead: Array) -> Array:
        """float64 [row, step]: the target at `origins + ahead`, NaN where it is not known.

        Args:
            series: int64 [row].
            origins: int64 [row], steps of the grid.
            ahead: int64 [step], 0 is the origin itself.
        """
        places = (origins - self.starts[series])[:, None] + ahead
        inside = (places >= 0) & (places < self.sizes[series][:, None])
        flat = np.where(inside, self.offsets[series][:, None] + places, 0)
        return np.where(inside, self.target[flat], np.nan)

    def foreseen(self, series: Array, origins: Array) -> Array:
        """bool [row]: what must be known in advance is known for most of the steps to come."""
        places = (origins - self.starts[series])[:, None] + np.arange(self.layout.horizon)
        inside = (places >= 0) & (places < self.sizes[series][:, None])
        flat = np.where(inside, self.offsets[series][:, None] + places, 0)
        found = np.ones(len(series), bool)
        for (_, _, known), at in zip(self.layout.spans, self._known_at, strict=True):
            if known:
                found &= (inside & (at[flat] == flat)).sum(axis=1) >= MOST_KNOWN * self.layout.horizon
        return found

    def usable(self, series: Array, origins: Array) -> Array:
        """bool [window]: the step before the origin has a value (a forecast begins after the last one), some step after
        it has one too, and what must be known in advance is.
        """
        found = np.zeros(len(series), bool)
        for start in range(0, len(series), SOME):
            part = slice(start, start + SOME)
            last = self.values(series[part], origins[part], np.array([-1]))
            after = self.values(series[part], origins[part], np.arange(self.layout.horizon))
            found[part] = np.isfinite(last[:, 0]) & np.isfinite(after).any(axis=1)
            found[part] &= self.foreseen(series[part], origins[part])
        return found

    def windows(self, series: Array, origins: Array) -> Array:
        """float32 [row, length + horizon, channel]: nothing of the target from the origin on is in them."""
        layout = self.layout
        ahead = np.arange(-layout.length, layout.horizon)
        places = (origins - self.starts[series])[:, None] + ahead
        inside = (places >= 0) & (places < self.sizes[series][:, None])
        flat = self.offsets[series][:, None] + np.clip(places, 0, self.sizes[series][:, None] - 1)
        observed = inside & (ahead < 0) & (self._target_at[flat] == flat)
        # Nothing from before the first value in the window counts: the sealed model may be given no more than that.
        first = observed.argmax(axis=1)
        alive = np.arange(len(ahead)) >= np.where(observed.any(axis=1), first, len(ahead))[:, None]
        least = flat[np.arange(len(flat)), first][:, None]
        steps = np.where(alive, origins[:, None] + ahead, 0)
        calendar = np.where(alive[:, :, None], self._told(np.where(alive, steps, self._first)), 0.0)
        parts = [self._target(flat, alive & inside & (ahead < 0), least), steps[:, :, None], calendar]
        for (begin, end, in_advance), at in zip(layout.spans, self._known_at, strict=True):
            shown = alive & (in_advance | (ahead < 0))
            parts.append(self._covariate(at, slice(begin, end), flat, shown, inside, least))
        return np.concatenate(parts, axis=2).astype(np.float32)

    def _told(self, steps: Array) -> Array:
        """float32 [..., column]: what the calendar tells of steps."""
        if self._calendar is not None:
            return np.asarray(self._calendar[steps - self._first])
        distinct, place = np.unique(steps, return_inverse=True)
        return np.asarray(self.grid.calendar(distinct, self.layout.parts)[place.reshape(steps.shape)])

    def _target(self, flat: Array, shown: Array, least: Array) -> Array:
        """float64 [row, step, 4]: the normalised target, whether observed, center, spread."""
        at = self._target_at[flat]
        observed = shown & (at == flat)
        filled = shown & (at >= least) & (flat - at <= self.layout.filled)
        values = np.where(filled, self.target[np.maximum(at, 0)], 0.0)
        count = np.maximum(observed.sum(axis=1, keepdims=True), 1)
        mean = np.where(observed, values, 0.0).sum(axis=1, keepdims=True) / count
        spread = np.sqrt((np.where(observed, values - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / count)
        center = mean
        if self.layout.center == "last":
            last = observed.shape[1] - 1 - observed[:, ::-1].argmax(axis=1)
            center = np.where(observed.any(axis=1), values[np.arange(len(values)), last], 0.0)[:, None]
        spread = np.maximum(spread, FLAT * np.abs(mean))
        spread = np.where(spread > 0, spread, self.layout.unit)
        scaled = np.where(filled, (values - center) / spread, 0.0)
        return np.stack([scaled, observed, *np.broadcast_arrays(center, spread, scaled)[:2]], axis=2)

    def _covariate(
        self, known_at: Array, columns: slice, flat: Array, shown: Array, inside: Array, least: Array
    ) -> Array:
        """float32 [row, step, column + 1]: the values, those that are missing as the last ones before; and a flag."""
        at = known_at[flat]
        filled = shown & (at >= least)
        values = np.where(filled[:, :, None], self.covariates[np.maximum(at, 0), columns], 0.0)
        return np.concatenate([values, (filled & inside & (at == flat))[:, :, None]], axis=2)


def _before(present: Array) -> Array:
    """int64 [place]: the last place at or before each where something is present; -1 where there is none."""
    return np.maximum.accumulate(np.where(present, np.arange(len(present)), -1))

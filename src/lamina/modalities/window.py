"""Windows: a piece of a long table, one series up to now and what is known of the steps to come.

A value is a mapping from column to list (or its JSON text), such as `{"day": ["2024-01-01", ...], "sold": [3, ...]}`.
Rows in which the target is missing, after the last one that has it, say what is known of the future.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import canonical, column, object_array
from lamina.modalities._covariate import Covariate
from lamina.modalities._grid import OFF, WAVES, Clock, Grid, clock_of, grid_of
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.modalities._options import positive, read_options
from lamina.modalities._tracks import (
    CENTER,
    MOST_KNOWN,
    OBSERVED,
    PLAIN,
    SPREAD,
    STEP,
    TARGET,
    Center,
    Layout,
    Track,
    Tracks,
)

Array = np.ndarray[Any, Any]
Combine = Literal["last", "sum", "mean"]
COMBINE: tuple[Combine, ...] = get_args(Combine)
RawTable = Mapping[str, Values]
"""Raw values by column, all of one length."""

LONGEST = 16_384
MOST_STEPS = 20
"""A series may span so many steps for each of its rows, beyond a thousand: one wrong date must not fill the memory."""
ROUNDING = 1e-9
"""Of a series' largest value: what changes by less does not change."""
DEFAULTS: Mapping[str, Json] = {
    "time": "", "target": "", "group": "", "known": [], "past": [], "horizon": 1, "length": 0, "center": "mean",
    "combine": "last", "spacing": "",
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """A table put onto the grid, and what was odd about it.

    Attributes:
        track: the series; None without any value of the target.
        rows: int64 [step], the table's row that each step is from; -1 where there is none.
        again: rows whose step a later row (of those of one moment, one further down) has as well.
        kept, places: all rows that count, by moment, and the step of each from the series' first one.
        off: rows whose stamp is not on the grid; they count for the nearest step.
        unreadable: rows without a readable stamp or target, with the reason.
    """

    track: Track | None
    rows: Array
    again: Array
    off: Array
    unreadable: Mapping[int, str]
    kept: Array
    places: Array


def table_of(value: Any) -> dict[str, Values] | str | None:
    """A value as raw columns of one length, or what is wrong with it, or None where it is missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not text:
            return None
        try:
            value = json.loads(text) if text.startswith("{") else None
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, Mapping):
        return "it is no mapping from column to list"
    lists = {str(name): part for name, part in value.items() if _is_list(part)}
    sizes = {len(part) for part in lists.values()}
    if len(sizes) != 1 or sizes == {0}:
        return "it has no lists of one length" if len(sizes) > 1 else "it has no list of values"
    return {name: column(part if isinstance(part, np.ndarray) else object_array(part)) for name, part in lists.items()}


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)


def recognise(values: Values, name: str) -> Recognition | None:
    """Mappings from column to list, with a column of time and one of numbers."""
    array = column(values)
    if array.dtype.kind != "O":
        return None
    shown = [value for value in array.tolist() if isinstance(value, Mapping) or str(value).strip().startswith("{")]
    tables = [table for value in shown if isinstance(table := table_of(value), dict)]
    if not tables or len(tables) < 0.9 * len(shown):
        return None
    found = _guessed(tables)
    if not found["time"] or not found["target"]:
        return None
    lengths = [len(next(iter(table.values()))) for table in tables]
    steps = f"{min(lengths)} to {max(lengths)}"
    return Recognition(0.98, f"pieces of a table, {steps} rows of {found['target']!r} by {found['time']!r}")


def describe(values: Values) -> dict[str, Json]:
    """Counts, columns and numbers of steps."""
    found = [table_of(value) for value in column(values).tolist()]
    tables = [table for table in found if isinstance(table, dict)]
    lengths = [len(next(iter(table.values()))) for table in tables] or [0]
    return {
        "count": len(found),
        "missing": sum(table is None for table in found) / max(len(found), 1),
        "columns": list(dict.fromkeys(name for table in tables for name in table)),
        "steps_min": min(lengths),
        "steps_max": max(lengths),
    }


@dataclass(frozen=True)
class Encoder:
    """A window to float32 [length + horizon, channel]; the forecast begins after the last value of the target.

    Channels: the target, from its center (mean or last value) in units of its spread, both of this very window
    (instance normalisation, Kim et al. 2022), gaps of at most `filled` steps filled with the value before; whether it
    was observed; center; spread; the step; sines and cosines of clock, weekday and season; and each covariate,
    standardised, with a flag. What is not known in advance is 0 from the origin on.

    Options: "time", "target", "group": columns; "known", "past": lists of columns (of the latter, those that tell
    nothing are left out); "horizon"; "length"; "center"; "spacing" of the grid; "combine".
    """

    modality: ClassVar[str] = "window"

    time: str
    target: str
    group: str
    """The column that tells series apart in a long table, or ""."""
    covariates: tuple[Covariate, ...]
    clock: Clock
    grid: Grid
    parts: tuple[str, ...]
    length: int
    horizon: int
    center: Center
    filled: int
    decimal: str = "."
    """How the training part writes numbers of the target."""
    unit: float = 1.0
    """Spread of a window that holds nothing but zeros: the usual one of a series in the training part."""
    combine: Combine = "last"
    """What counts of several rows at one step: the last one, the sum or the mean of their targets. Of these two go with
    the mean of other numbers, and the last row's texts."""

    @property
    def feature(self) -> Feature:
        """details: "horizon", and the channels that are given to a network: "past" and "future"."""
        calendar = list(range(PLAIN, PLAIN + len(self.parts) * WAVES))
        past, future, place = [TARGET, OBSERVED, *calendar], list(calendar), PLAIN + len(calendar)
        for item in self.covariates:
            channels = range(place, place + item.columns + 1)
            place += item.columns + 1
            past += channels
            future += channels if item.known else ()
        details = {"horizon": self.horizon, "past": past, "future": future}
        return Feature("series", (self.length + self.horizon, place), "float32", details=details)

    @cached_property
    def layout(self) -> Layout:
        """What a window holds."""
        spans, place = [], 0
        for item in self.covariates:
            spans.append((place, place + item.columns, item.known))
            place += item.columns
        return Layout(self.length, self.horizon, self.center, self.filled, tuple(spans), self.parts, self.unit)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return (self.time, self.target, *(item.name for item in self.covariates))

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn the grid, the scale of covariates and what the calendar tells.

        Raises:
            InputError: no table, no column of time or of numbers, one known in advance that tells nothing, or a wrong
                option.
        """
        chosen = read_options("window", options, {**DEFAULTS, "known": None, "past": None})
        tables = [
            table for values in chunks() for value in column(values).tolist()
            if isinstance(table := table_of(value), dict)
        ]  # fmt: skip
        if not tables:
            raise InputError("There is no table among the training values.", fix="Give the column the role ignore.")
        guessed = {**_guessed(tables), **{name: value for name, value in chosen.items() if value}}
        for name in ("time", "target"):
            if not guessed[name]:
                raise InputError(f"No column looks like a {name}.", fix=f"Name it with the option {name!r}.")
        time, target = str(guessed["time"]), str(guessed["target"])
        clock = clock_of(_joined(tables, time))
        moments = [_readable(clock, table[time]) for table in tables if time in table]
        grid = grid_of(moments, clock.dates, str(chosen["spacing"]))
        if grid is None:
            raise InputError(f"No two rows of {time!r} follow each other.", fix="Give tables of at least two moments.")
        covariates = [
            Covariate.fit(name, known, _joined(tables, name), wanted=True)
            for key, known in (("known", True), ("past", False))
            for name in chosen[key] or ()
        ]
        told = {item.name for item in covariates if item is not None}
        for name in chosen["known"] or ():
            _check_known(name, _joined(tables, name), name in told)
        every = np.concatenate([grid.steps(one)[0] for one in moments])
        longest = min(max(len(one) for one in moments), LONGEST)
        horizon = int(positive("window", "horizon", chosen["horizon"]))
        decimal = decimal_of([_joined(tables, target)])
        combine = chosen["combine"]
        if combine not in COMBINE:
            raise InputError(f"The option 'combine' is {combine!r}.", fix=f"Give one of {', '.join(COMBINE)}.")
        found = cls(
            time, target, str(chosen["group"]), tuple(item for item in covariates if item is not None), clock, grid,
            grid.parts(int(np.ptp(every)), clock.dates), int(chosen["length"]) or longest, horizon,
            "last" if chosen["center"] == "last" else "mean", filled=max(horizon, 3),
            decimal=decimal, unit=_usual_spread([table[target] for table in tables if target in table], decimal),
            combine=combine,
        )  # fmt: skip
        if combine == "last":
            return found
        # Of sums and means it is another one than of single rows.
        whole = [read.track.target for table in tables if (read := found.read(table)).track is not None]
        return replace(found, unit=_usual_spread(whole, "."))

    def read(self, table: RawTable) -> Reading:
        """Put a table onto the grid; columns of covariates that it does not have are missing."""
        moments, problems = self.clock.read(table[self.time])
        values, wrong = read_numbers(table[self.target], self.decimal)
        unreadable = {row: f"{self.target}: {reason}" for row, reason in wrong.items()}
        unreadable |= {row: f"{self.time}: {reason}" for row, reason in problems.items()}
        steps, off = self.grid.steps(moments)
        usable = np.ones(len(steps), bool)
        usable[list(problems)] = False
        present = usable & np.isfinite(values)
        if not present.any():
            return Reading(None, _NONE, _NONE, _NONE, unreadable, _NONE, _NONE)
        start = int(steps[present].min())
        # Rows from before the first value of the target say nothing that a window could use.
        usable &= steps >= start
        kept = np.flatnonzero(usable)
        kept = kept[np.argsort(moments[kept], kind="stable")]
        span = int(steps[kept].max()) - start + 1
        if span > MOST_STEPS * len(kept) + 1000:
            raise InputError(
                f"{len(kept):,} rows span {span:,} steps of {self.grid.describe(self.clock.dates)}.",
                where=self.time,
                fix="Correct stamps that are far from all others, or give rows at a more regular spacing.",
            )
        rows = np.full(span, -1, np.int64)
        places = steps[kept] - start
        # Of several rows at one step the latest one counts, of those of one moment the last one; or all do.
        rows[places] = kept
        again = np.setdiff1d(kept, rows)
        there = rows >= 0
        target = np.where(there, values[rows], np.nan)
        if self.combine != "last":
            target = _together(values[kept], places, span, self.combine)
        if not np.isfinite(target).any():
            # Later rows of the same moments, without a value, count in place of all that have one.
            return Reading(None, _NONE, _NONE, _NONE, unreadable, _NONE, _NONE)
        covariates = np.full((span, sum(item.columns for item in self.covariates)), np.nan, np.float32)
        for item, (first, last, _) in zip(self.covariates, self.layout.spans, strict=True):
            if item.name in table:
                read = item.read(table[item.name])
                covariates[there, first:last] = read[rows[there]]
                if self.combine != "last" and not item.levels:
                    covariates[:, first] = _together(read[kept, 0], places, span, "mean")
        track = Track(start, target, covariates)
        return Reading(track, rows, again, kept[off[kept] > OFF], unreadable, kept, places)

    def tracks(self, tracks: Sequence[Track]) -> Tracks:
        """Series, for windows in bulk."""
        return Tracks(tracks, self.grid, self.layout)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, length + horizon, channel]; a row whose table cannot be used is zeros, with an error."""
        rows = column(values).tolist()
        array = np.zeros((len(rows), *self.feature.shape), np.float32)
        tracks, errors = {}, {}
        for row, value in enumerate(rows):
            found = self.track_of(value)
            if isinstance(found, str):
                errors[row] = found
            else:
                tracks[row] = found
        if tracks:
            numbers = np.arange(len(tracks))
            ends = np.array([track.end for track in tracks.values()], np.int64)
            array[list(tracks)] = self.tracks(list(tracks.values())).windows(numbers, ends)
        return Encoded(array, errors)

    def track_of(self, value: Any) -> Track | str:
        """A raw value's series, or what is wrong with it."""
        table = table_of(value)
        if not isinstance(table, dict):
            return table or "the table is missing"
        found = self.history_of(table)
        return found if isinstance(found, str) else self._lacking(found) or found

    def history_of(self, table: RawTable) -> Track | str:
        """A table's series, whatever is known of the steps to come, or what is wrong with it."""
        missing = [name for name in self.columns if name not in table]
        if missing:
            return f"the table has no column {missing[0]!r}"
        try:
            reading = self.read(table)
        except InputError as error:
            return error.what
        if reading.unreadable:
            row, reason = next(iter(reading.unreadable.items()))
            return f"row {row} of the table: {reason}"
        return f"there is no value of {self.target!r}" if reading.track is None else reading.track

    def _lacking(self, track: Track) -> str:
        """What should be known of the steps to come, and is not; "" where all is."""
        ahead = track.covariates[track.end - track.start :][: self.horizon]
        for item, (first, _, known) in zip(self.covariates, self.layout.spans, strict=True):
            there = int(np.isfinite(ahead[:, first]).sum())
            if known and there < MOST_KNOWN * self.horizon:
                return (
                    f"{item.name!r} must be known for the {self.horizon} steps to come, and is for {there}: add rows "
                    f"for them, without {self.target!r}"
                )
        return ""

    def ahead(self, value: Any) -> list[str]:
        """The moments of the steps that are forecast, as texts; none where the value cannot be used."""
        track = self.track_of(value)
        if isinstance(track, str):
            return []
        moments = self.grid.moments(track.end + np.arange(self.horizon))
        return [self.clock.text(moment, self.grid.days) for moment in moments.tolist()]

    def decode(self, array: Array) -> Values:
        """Mappings from column to list: the moments of the window, with None where nothing was observed."""
        return object_array(self._decoded(one) for one in np.asarray(array).reshape(-1, *self.feature.shape))

    def _decoded(self, window: Array) -> dict[str, list[Any]] | None:
        observed = window[:, OBSERVED] > 0.5
        if not observed.any():
            return None
        chosen = np.arange(int(observed.argmax()), len(window))
        part = window[chosen].astype(np.float64)
        moments = self.grid.moments(np.rint(part[:, STEP]).astype(np.int64)).tolist()
        values = part[:, TARGET] * part[:, SPREAD] + part[:, CENTER]
        found: dict[str, list[Any]] = {
            self.time: [self.clock.text(moment, self.grid.days) for moment in moments],
            self.target: [
                value if there else None for value, there in zip(values.tolist(), observed[chosen], strict=True)
            ],
        }
        place = PLAIN + len(self.parts) * WAVES
        for item in self.covariates:
            flags = part[:, place + item.columns] > 0.5
            shown = item.values(part[:, place : place + item.columns])
            found[item.name] = [value if there else None for value, there in zip(shown, flags, strict=True)]
            place += item.columns + 1
        return found

    def state(self) -> dict[str, Json]:
        """As JSON."""
        covariates = [{**asdict(item), "levels": list(item.levels)} for item in self.covariates]
        return {
            "time": self.time, "target": self.target, "group": self.group, "covariates": covariates,
            "clock": asdict(self.clock), "grid": self.grid.state(), "parts": list(self.parts), "length": self.length,
            "horizon": self.horizon, "center": self.center, "filled": self.filled, "decimal": self.decimal,
            "unit": self.unit, "combine": self.combine,
        }  # fmt: skip

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        covariates = tuple(Covariate(**{**item, "levels": tuple(item["levels"])}) for item in state["covariates"])
        parts, clock = (
            tuple(map(str, state["parts"])),
            Clock(*(bool(state["clock"].get(name, False)) for name in ("dates", "day_first", "zoned", "local"))),
        )
        length, horizon, center = int(state["length"]), int(state["horizon"]), state["center"]
        if not 1 <= length <= LONGEST or not 1 <= horizon <= LONGEST or center not in ("mean", "last"):
            raise ValueError(f"windows of {length} and {horizon} steps from their {center}")
        if not set(parts) <= {"clock", "weekday", "season"}:
            raise ValueError(f"a calendar of {parts}")
        decimal = state.get("decimal", ".")
        if not {decimal, *(item.decimal for item in covariates)} <= {".", ","}:
            raise ValueError(f"the decimal sign {decimal!r}")
        # Files of before windows of zeros had a unit of their own read them in units of 1.
        unit = float(state.get("unit", 1.0))
        if not 0 < unit < math.inf:
            raise ValueError(f"a unit of {unit}")
        combine = state.get("combine", "last")
        if combine not in COMBINE:
            raise ValueError(f"rows that are combined by {combine!r}")
        return cls(
            str(state["time"]), str(state["target"]), str(state["group"]), covariates, clock,
            Grid.restore(state["grid"]), parts, length, horizon, center, int(state["filled"]), decimal, unit, combine,
        )  # fmt: skip


_NONE = np.zeros(0, np.int64)


def _joined(tables: Sequence[RawTable], name: str) -> Values:
    parts = [table[name] for table in tables if name in table]
    kinds = {part.dtype for part in parts}
    if not parts:
        raise InputError(f"No table has a column {name!r}.", fix="Give the column the role ignore, or name another.")
    return np.concatenate(parts if len(kinds) == 1 else [part.astype(object) for part in parts])


def _check_known(name: str, values: Values, tells: bool) -> None:
    """Raises InputError where what is said to be known in advance is not known, or the same in all training rows."""
    missing = float((canonical(values) == None).mean())  # noqa: E711
    if missing > 1 - MOST_KNOWN:
        raise InputError(
            f"{name!r} is to be known in advance, but is missing in {missing:.0%} of the training rows.",
            where="task.known",
            fix="Say in every row what is known, e.g. none where nothing is the case, or leave it out of the list.",
        )
    if not tells:
        raise InputError(
            f"{name!r} is to be known in advance, but tells nothing: in the training part it is always the same, or no "
            "value comes twice.",
            where="task.known",
            fix="Leave it out of the list, or give rows in which it makes a difference.",
        )


def _together(values: Array, places: Array, span: int, how: Combine) -> Array:
    """[step]: the sum or mean of the values of each, of those that are there; NaN where there is none."""
    there = np.isfinite(values)
    counts = np.bincount(places[there], minlength=span)
    sums = np.bincount(places[there], values[there], span)
    return np.where(counts > 0, sums if how == "sum" else sums / np.maximum(counts, 1), np.nan)


def _usual_spread(series: Sequence[Values], decimal: str) -> float:
    """The median over series of their standard deviation, of those that vary; 1 where none does."""
    varied = []
    for values in series:
        numbers, _ = read_numbers(values, decimal)
        there = numbers[np.isfinite(numbers)]
        with np.errstate(over="ignore"):
            spread = float(there.std()) if len(there) else 0.0
        if ROUNDING * float(np.abs(there).max(initial=0.0)) < spread < math.inf:
            varied.append(spread)
    return float(np.median(varied)) if varied else 1.0


def _readable(clock: Clock, values: Values) -> Array:
    moments, problems = clock.read(values)
    kept = np.ones(len(moments), bool)
    kept[list(problems)] = False
    return moments[kept]


def _guessed(tables: Sequence[RawTable]) -> dict[str, str]:
    """The first column that nearly always holds moments that grow, and the first other one of numbers."""
    names = list(dict.fromkeys(name for table in tables for name in table))
    time = next((name for name in names if _grows(tables, name)), "")
    target = next((name for name in names if name != time and _numeric(_joined(tables, name))), "")
    return {"time": time, "target": target}


def _grows(tables: Sequence[RawTable], name: str) -> bool:
    clock = clock_of(_joined(tables, name))
    found = [_readable(clock, table[name]) for table in tables if name in table]
    whole = sum(len(table[name]) for table in tables if name in table) == sum(map(len, found))
    return whole and all((np.diff(one) > 0).all() for one in found) and any(len(one) > 1 for one in found)


def _numeric(values: Values) -> bool:
    numbers, errors = read_numbers(values, decimal_of([values]))
    return not errors and bool(np.isfinite(numbers).any())

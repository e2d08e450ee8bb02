"""Rows put in order: series on a common grid, divided by time, and what was odd about them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data.findings import AuditFinding, counted, listed, places
from lamina.data.schema import Values
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities._grid import Grid, clock_of, grid_of
from lamina.modalities._number_text import decimal_of, read_numbers
from lamina.modalities._tracks import Tracks
from lamina.modalities.window import Encoder, Reading
from lamina.plan import Plan
from lamina.tasks.forecast import LONGEST

Array = np.ndarray[Any, Any]
SEASONS, HORIZONS, LONGEST_USUAL = 2, 3, 512
"""History that is read where nothing is said: so many seasons and horizons, at most so many steps."""
SHARE = 3
"""The history is at most one part in so many of the training part."""
ROUNDING = 1e-9
"""Of a series' largest value: what changes by less does not change."""
LEAST_HISTORY = 4
"""A training window has values in at least one part in so many of its history."""


@dataclass(frozen=True)
class Long:
    """The columns of a long table, read.

    Attributes:
        names: of the series, in order; one without a name where there is no group column.
        rows: int64, the table's rows of each series, by time; in equal moments as in the table.
        moments: int64 [row], microseconds, of all of the table's rows.
        values: raw values of all of the table's rows by column.
        known: bool [row], of all of the table's rows: there is a number of the target.
        dropped: rows that belong to no series or have no readable stamp or number, with the reason.
        dates: stamps are dates, not numbers.
        decimal: "." or ",", as numbers of the target are written.
    """

    names: tuple[str, ...]
    rows: tuple[Array, ...]
    moments: Array
    values: Mapping[str, Values]
    known: Array
    dropped: tuple[tuple[int, str], ...]
    dates: bool
    decimal: str


@dataclass(frozen=True)
class Panel:
    """All series on one grid.

    Attributes:
        names: of the series.
        encoder: of windows; fitted on the training part.
        tracks: the series, all steps.
        rows: of each series the table's row of each step, the last of several, -1 where there is none.
        members: of each series all of the table's rows that count, by moment, and their steps from its first one.
        first, validation, test, end: steps of the grid at which the parts begin, and the step after the last one.
        season: steps after which values come again; 1 where they do not.
        units: float64 [series], the mean absolute error of the seasonal naive forecast one season ahead, within the
            training part.
        findings: what the user should know.
        dropped: rows left out, with the reason.
        counts: rows with a value in training, validation and test part.
    """

    names: tuple[str, ...]
    encoder: Encoder
    tracks: Tracks
    rows: tuple[Array, ...]
    members: tuple[tuple[Array, Array], ...]
    long: Long
    first: int
    validation: int
    test: int
    end: int
    season: int
    units: Array
    findings: tuple[AuditFinding, ...]
    counts: tuple[int, int, int]

    @property
    def horizon(self) -> int:
        return self.encoder.horizon


def read_long(table: Table, plan: Plan) -> Long:
    """Read a long table: which rows belong to which series, and when they are from.

    Raises:
        InputError: more rows than allowed cannot be read.
    """
    target, part = next(iter(plan.task.items()))
    options = part.options
    columns = [options["time"], target, *options["known"], *options["past"], *options["static"]]
    columns += [options["group"]] if options["group"] else []
    values = table.take(np.arange(len(table)), list(dict.fromkeys(columns)))
    moments, problems = clock_of(values[options["time"]]).read(values[options["time"]])
    dropped = {row: f"{options['time']}: {reason}" for row, reason in problems.items()}
    decimal = decimal_of([values[target]])
    numbers, wrong = read_numbers(values[target], decimal)
    dropped |= {row: f"{target}: {reason}" for row, reason in wrong.items()}
    keys = canonical(values[options["group"]]) if options["group"] else object_array([""] * len(table))
    dropped |= dict.fromkeys(np.flatnonzero(keys == None).tolist(), f"{options['group']}: there is no value")  # noqa: E711
    if len(dropped) > plan.data.bad_rows * len(table):
        shown = "; ".join(f"{table.place(row)}: {reason}" for row, reason in list(dropped.items())[:3])
        raise InputError(
            f"{len(dropped):,} of {len(table):,} rows cannot be read, more than the {plan.data.bad_rows:.1%} allowed.",
            where=shown,
            fix="Correct them, or allow more with --set data.bad_rows=0.2",
        )
    kept = np.setdiff1d(np.arange(len(table)), list(dropped))
    names, codes = np.unique(keys[kept].astype(str), return_inverse=True)
    order = kept[np.lexsort((moments[kept], codes))]
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    rows = tuple(np.split(order, ends[:-1]))
    dates = clock_of(values[options["time"]]).dates
    listed = tuple(sorted(dropped.items()))
    return Long(tuple(names.tolist()), rows, moments, values, np.isfinite(numbers), listed, dates, decimal)


def panel(table: Table, boundary: int | None, plan: Plan) -> Panel:
    """Put all rows onto one grid and divide them by time.

    Args:
        boundary: the first row of test data that was given apart, or None.

    Raises:
        InputError: no grid is found, or the series are too short for the horizon.
    """
    target, part = next(iter(plan.task.items()))
    options, horizon = part.options, int(part.options["horizon"])
    long = read_long(table, plan)
    grid = grid_of([long.moments[rows] for rows in long.rows], long.dates, str(options.get("spacing", "")))
    if grid is None:
        raise InputError(
            "No series has two moments.", where=options["time"], fix="Check --time and --group; give more rows."
        )
    steps = np.full(len(table), np.iinfo(np.int64).min)
    for rows in long.rows:
        steps[rows] = grid.steps(long.moments[rows])[0]
    validation, test = _boundaries(table, long, steps, boundary, plan, horizon)
    encoder = _encoder(target, options, long, grid, steps, validation)
    readings = [encoder.read(_columns(long, encoder.columns, rows)) for rows in long.rows]
    found = [number for number, reading in enumerate(readings) if reading.track is not None]
    tracks = encoder.tracks([reading.track for reading in readings if reading.track is not None])
    names, season = [long.names[number] for number in found], int(options["season"])
    season = season or season_of(tracks, grid.periods(long.dates), validation)
    length = int(options["history"]) or _length(season, horizon, validation - int(tracks.starts.min()))
    encoder = replace(encoder, length=length, center=_center(tracks, length, horizon, validation))
    tracks = encoder.tracks([readings[number].track for number in found])  # type: ignore[misc]
    chosen = [readings[number] for number in found]
    units = units_of(tracks, season, validation)
    return Panel(
        names=tuple(names), encoder=encoder, tracks=tracks,
        rows=tuple(_of_table(reading.rows, long.rows[number]) for number, reading in zip(found, chosen, strict=True)),
        members=tuple((long.rows[number][one.kept], one.places) for number, one in zip(found, chosen, strict=True)),
        long=long, first=int(tracks.starts.min()), validation=validation, test=test, end=int(tracks.ends.max()),
        season=season, units=units, counts=_counts(tracks, validation, test),
        findings=(
            *_findings(table, long, readings, grid, tracks, names, validation, encoder),
            *telling_nothing(set(options["past"]) - {item.name for item in encoder.covariates}),
        ),
    )  # fmt: skip


def _columns(long: Long, columns: Sequence[str], rows: Array) -> dict[str, Values]:
    return {name: long.values[name][rows] for name in columns}


def _of_table(rows: Array, own: Array) -> Array:
    """Rows of a series' own table as rows of the whole one."""
    return np.where(rows >= 0, own[np.maximum(rows, 0)], -1)


def _boundaries(
    table: Table, long: Long, steps: Array, boundary: int | None, plan: Plan, horizon: int
) -> tuple[int, int]:
    """(The step that the validation part begins at, that of the test part).

    Rows without a number of the target, such as those of steps yet to come, play no part: nothing is learned or scored
    there.

    Raises:
        InputError: there is no number of the target, the parts cannot hold the horizon, or test rows do not come
            after the training rows.
    """
    kept = np.sort(np.concatenate(long.rows))
    kept = kept[long.known[kept]]
    own = kept if boundary is None else kept[kept < boundary]
    if not len(own):
        raise InputError(
            "No training row has both a moment and a number to forecast.",
            where="--target", fix="Choose another column, or give rows that have values.",
        )  # fmt: skip
    first, end = int(steps[own].min()), int(steps[kept].max()) + 1
    if boundary is None:
        share = int(np.quantile(steps[kept], 1 - plan.data.test_share, method="higher"))
        test = min(share, end - horizon)
    else:
        tested = kept[kept >= boundary]
        test = int(steps[tested].min()) if len(tested) else end
        late = own[steps[own] >= test]
        if len(late):
            raise InputError(
                f"{len(late):,} training rows are not earlier than the first test row.",
                where=table.place(int(late[0])),
                fix="Give test rows that continue the series, or leave out --test: the latest rows then test.",
            )
        if end - test < horizon:
            raise InputError(
                f"The test part has {end - test} steps, less than the horizon of {horizon}.",
                where="--test", fix="Give more test rows, or a smaller --horizon.",
            )  # fmt: skip
        own = own[steps[own] < test]
    before = steps[own][steps[own] < test]
    if not len(before):
        raise _too_short(end - first, horizon)
    validation = min(int(np.quantile(before, 1 - plan.data.validation_share, method="higher")), test - horizon)
    if validation - first < horizon + 2:
        raise _too_short(end - first, horizon)
    return validation, test


def _too_short(steps: int, horizon: int) -> InputError:
    return InputError(
        f"The horizon of {horizon} steps is too long: all series together span {steps}, and to train, to validate and "
        "to test take more than a horizon each.",
        where="--horizon", fix=f"Forecast fewer steps (at most {max(1, (steps - 2) // 3)}), or give a longer history.",
    )  # fmt: skip


def _encoder(target: str, options: Mapping[str, Any], long: Long, grid: Grid, steps: Array, validation: int) -> Encoder:
    """Fitted on the rows before the validation part; how moments and the target are written is read from all rows."""
    columns = [options["time"], target, *options["known"], *options["past"]]
    tables = []
    for rows in long.rows:
        own = rows[steps[rows] < validation]
        if len(own):
            tables.append(_columns(long, columns, own))
    wanted = {
        "time": options["time"], "target": target, "group": options["group"], "known": list(options["known"]),
        "past": list(options["past"]), "horizon": int(options["horizon"]), "length": 1,
        "spacing": str(options.get("spacing", "")), "combine": str(options.get("combine", "last")),
    }  # fmt: skip
    fitted = Encoder.fit(lambda: [object_array(tables)], wanted)
    span = validation - int(min(steps[rows].min() for rows in long.rows))
    clock = clock_of(long.values[options["time"]])
    return replace(fitted, clock=clock, grid=grid, parts=grid.parts(span, long.dates), decimal=long.decimal)


def season_of(tracks: Tracks, periods: Sequence[int], end: int) -> int:
    """Steps after which values come again: of the calendar's periods the one with the highest autocorrelation.

    Where the calendar names none, it is the lag with the highest one at all, if that is higher than the highest of so
    many lags of noise would be. 1 where no autocorrelation is worth it.

    Args:
        periods: candidates.
        end: the step that the training part ends before.
    """
    parts = [_detrended(tracks, series, end) for series in range(min(len(tracks), MOST_LOOKED_AT))]
    longest = max((len(part) for part in parts), default=0)
    candidates = [period for period in periods if period * 2 < longest]
    if not candidates and not periods:
        candidates = list(range(2, min(longest // 3, 400)))
    found = {period: _autocorrelation(parts, period) for period in candidates}
    if not periods:
        # What comes again after 12 steps is alike after 11 and 13: a season is a peak.
        found = {
            lag: value for lag, value in found.items() if value >= max(found.get(lag - 1, -1), found.get(lag + 1, -1))
        }
    best = max(found, key=lambda period: found[period], default=1)
    least = LEAST_CORRELATION
    if not periods:
        # Of pairs of noise, a mean correlation is normal with a variance of one by their number (Bartlett 1946); the
        # tail is bounded for all lags together (Bonferroni).
        pairs = sum(len(part) - best for part in parts if len(part) > 2 * best)
        least = max(least, float(np.sqrt(2 * np.log(max(len(candidates), 1) / BY_CHANCE) / max(pairs, 1))))
    return best if found.get(best, 0.0) >= least else 1


MOST_LOOKED_AT = 200
LEAST_CORRELATION = 0.2
BY_CHANCE = 0.05
"""Chance that a season is found in noise where all lags are tried."""


def _detrended(tracks: Tracks, series: int, end: int) -> Array:
    """A training series' changes from step to step: a trend would be like itself at every lag. NaN over gaps."""
    span = max(0, min(end, int(tracks.ends[series])) - int(tracks.starts[series]))
    own = tracks.target[tracks.offsets[series] : tracks.offsets[series] + span]
    return np.diff(own)


def _autocorrelation(parts: Sequence[Array], lag: int) -> float:
    """The mean over series of the correlation of each with itself `lag` steps before."""
    found = []
    for part in parts:
        if len(part) > 2 * lag:
            one, other = part[lag:], part[:-lag]
            both = np.isfinite(one) & np.isfinite(other)
            if both.sum() > 2 and one[both].std() > 0 and other[both].std() > 0:
                found.append(float(np.corrcoef(one[both], other[both])[0, 1]))
    return float(np.mean(found)) if found else 0.0


def _length(season: int, horizon: int, span: int) -> int:
    """Some seasons and horizons, as far as the training part has them."""
    seasons = SEASONS * season if SEASONS * season <= LONGEST_USUAL else season + horizon
    wanted = max(seasons, HORIZONS * horizon, 16)
    return int(np.clip(wanted, 2, min(max(span // SHARE, season, 2), LONGEST)))


def _center(tracks: Tracks, length: int, horizon: int, end: int) -> Any:
    """What the next steps are nearer to: the last value ("last") or the mean of the history ("mean")?"""
    series, origins = training_windows(tracks, length, horizon, end)
    if not len(series):
        return "mean"
    chosen = np.unique(np.linspace(0, len(series) - 1, min(len(series), 2000)).astype(np.int64))
    before = tracks.values(series[chosen], origins[chosen], np.arange(-length, 0))
    after = tracks.values(series[chosen], origins[chosen], np.arange(horizon))
    ways = {"last": filled_forward(before)[:, -1:], "mean": np.nanmean(before, axis=1, keepdims=True)}
    apart = {way: np.nanmean(np.abs(after - value), axis=1) for way, value in ways.items()}
    # Series differ in size: in how many windows is which nearer?
    return "last" if (apart["last"] < apart["mean"]).mean() > 0.5 else "mean"


def filled_forward(values: Array) -> Array:
    """[row, step] with each gap filled with the value before it; NaN where there is none."""
    at = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(values.shape[1]), 0), axis=1)
    return np.take_along_axis(values, at, axis=1)


def training_windows(tracks: Tracks, length: int, horizon: int, end: int, least: int = 0) -> tuple[Array, Array]:
    """(int64 [window], series; int64 [window], origins): all whose next steps lie before `end`.

    Args:
        least: values that a history has at least; 0 chooses.
    """
    least = least or max(1, length // LEAST_HISTORY)
    series, origins = [], []
    for number in range(len(tracks)):
        start, stop = int(tracks.starts[number]), min(int(tracks.ends[number]), end) - horizon + 1
        own = np.arange(start + least, stop)
        series.append(np.full(len(own), number))
        origins.append(own)
    found = np.concatenate(series).astype(np.int64), np.concatenate(origins).astype(np.int64)
    kept = tracks.usable(*found)
    return found[0][kept], found[1][kept]


def units_of(tracks: Tracks, season: int, end: int) -> Array:
    """float64 [series]: how far training values lie from those one season before, on average; never 0.

    The denominator of the mean absolute scaled error (Hyndman & Koehler 2006), with the season as in the M4
    competition. A series that is too short, or the same every season but for rounding, takes a season of 1, then what
    is usual for a series of its size: in units of others, a flat one of millions would count more than all of them.
    """
    # A series begins with a value; one that begins after `end` is known by nothing else before it is forecast.
    found, sizes = np.full(len(tracks), np.nan), np.abs(tracks.target[tracks.offsets[:-1]])
    for series in range(len(tracks)):
        span = max(0, min(end, int(tracks.ends[series])) - int(tracks.starts[series]))
        own = tracks.target[tracks.offsets[series] : tracks.offsets[series] + span]
        known = np.abs(own[np.isfinite(own)])
        sizes[series] = known.mean() if len(known) else sizes[series]
        least = ROUNDING * float(known.max(initial=0.0))
        for lag in (season, 1):
            apart = np.abs(own[lag:] - own[: len(own) - lag]) if len(own) > lag else np.zeros(0)
            apart = apart[np.isfinite(apart)]
            if len(apart) and apart.mean() > least:
                found[series] = apart.mean()
                break
    there = np.isfinite(found)
    middle = float(np.median(found[there])) if there.any() else 1.0
    share = float(np.median(found[there] / sizes[there])) if there.any() else 1.0
    return np.where(there, found, np.where(sizes > 0, share * sizes, middle))


def _counts(tracks: Tracks, validation: int, test: int) -> tuple[int, int, int]:
    steps = np.concatenate(
        [start + np.arange(size) for start, size in zip(tracks.starts.tolist(), tracks.sizes.tolist(), strict=True)]
    )
    known = steps[np.isfinite(tracks.target)]
    return (
        int((known < validation).sum()),
        int(((known >= validation) & (known < test)).sum()),
        int((known >= test).sum()),
    )


def _findings(
    table: Table, long: Long, readings: Sequence[Reading], grid: Grid, tracks: Tracks, names: Sequence[str],
    validation: int, encoder: Encoder,
) -> list[AuditFinding]:  # fmt: skip
    """What was odd: repeated moments, stamps off the grid, gaps, series that are short or empty."""
    spacing, found = grid.describe(long.dates), []
    again = np.concatenate([own[one.again] for own, one in zip(long.rows, readings, strict=True)])
    off = np.concatenate([own[one.off] for own, one in zip(long.rows, readings, strict=True)])
    if len(again):
        last = encoder.combine == "last"
        found.append(AuditFinding(
            "repeated moments", "warning" if last else "note",
            f"{counted(len(again), 'row')} lie in a step of {spacing} in which a later row of the same series lies as "
            f"well: {'the last row counts' if last else f'the {encoder.combine} counts'}.",
            len(again), places(table, again),
            "Leave out rows that are not meant, name the column that tells series apart with --group, or have rows of "
            "one step combined: --set task.combine=sum, or mean." if last else "",
        ))  # fmt: skip
    if len(off):
        found.append(AuditFinding(
            "irregular stamps", "warning" if len(off) > 0.01 * len(table) else "note",
            f"{counted(len(off), 'stamp')} are not on the grid of {spacing}: they count for the nearest step.",
            len(off), places(table, off), "",
        ))  # fmt: skip
    gaps, shown = _gaps(readings, long, table)
    steps = sum(len(one.rows) for one in readings)
    if gaps:
        found.append(AuditFinding(
            "gaps", "warning" if gaps > 0.05 * steps else "note",
            f"{gaps:,} of {steps:,} steps have no value. Gaps of up to {encoder.filled} steps are filled with the "
            "value before, and the network is told so; longer ones are left open. Nothing is scored there, and no "
            "forecast begins after a gap.",
            gaps, shown, "",
        ))  # fmt: skip
    least = max(1, encoder.length // LEAST_HISTORY) + encoder.horizon
    short = [name for name, start in zip(names, tracks.starts.tolist(), strict=True) if validation - start < least]
    empty = [name for name, one in zip(long.names, readings, strict=True) if one.track is None]
    for kind, series, text in (
        (
            "short series",
            short,
            "are too short before the validation part to learn from, but are forecast",
        ),
        ("empty series", empty, "have no value at all: left out"),
    ):
        if series:
            named = tuple(name or "the only series" for name in series[:20])
            found.append(AuditFinding(kind, "warning", f"{len(series):,} series {text}.", len(series), named, ""))
    return found


def telling_nothing(names: Collection[str]) -> list[AuditFinding]:
    """That columns are left out."""
    text = "tell nothing in the training part, where they are always the same or no value comes twice: left out."
    return (
        [AuditFinding("columns left out", "warning", f"{listed(sorted(names))} {text}", len(names), (), "")]
        if names
        else []
    )


def _gaps(readings: Sequence[Reading], long: Long, table: Table) -> tuple[int, tuple[str, ...]]:
    """(Steps without a value, the places after which the first ones are)."""
    count, shown = 0, list[str]()
    for own, one in zip(long.rows, readings, strict=True):
        if one.track is None:
            continue
        inside = np.isfinite(one.track.target[: one.track.end - one.track.start])
        count += int((~inside).sum())
        begun = np.flatnonzero(inside[:-1] & ~inside[1:])[: 20 - len(shown)]
        shown += [f"after {table.place(int(own[one.rows[step]]))}" for step in begun.tolist()]
    return count, tuple(shown)

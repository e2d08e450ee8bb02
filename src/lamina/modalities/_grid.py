"""Evenly spaced moments: which step a stamp belongs to, and which moment a step is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities._canonical import canonical, column, object_array
from lamina.modalities._covariate import UNREADABLE
from lamina.modalities._instant import day_first_of, read_instants
from lamina.modalities._number_text import read_numbers
from lamina.modalities.time import DAY, cycles

Array = np.ndarray[Any, Any]
Unit = Literal["microseconds", "weekdays", "months"]

SECOND = 1_000_000
SPACINGS = {"second": SECOND, "minute": 60 * SECOND, "hour": 3600 * SECOND, "day": DAY, "week": 7 * DAY}
"""What steps may be said in, besides months."""
MONDAY = 4 * DAY
"""The first one after the beginning of 1970."""
_SPACING = re.compile(r"(\d+(?:\.\d+)?)?\s*(second|minute|hour|day|week|month|)s?")
MONTH_DAYS = 30.436875
SHORTEST_MONTH = 28
HARMONICS = 3
"""Sines and cosines of each cycle: with three, any pattern of seven weekdays can be told."""
WAVES = 2 * HARMONICS
OFF = 0.01
"""A stamp is off the grid if it is further from it than this share of a step."""
YEAR_STEPS = 366 * DAY
LARGEST = 2.9e12
"""Of numbers that count time, such as milliseconds since 1970: two of them are so far apart that the millionths between
them, and half as many more, fit into int64."""

MANY_MISSING = 1000
_ZONE = re.compile(r":\d{2}.*(?:Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)(?:\s*\([A-Z]+\))?$|\d{6}Z$", re.IGNORECASE)
FEWEST_DIGITS = 13
"""So many different numbers must be dates for all to be: a plain count may well run from 202401 to 202412."""


@dataclass(frozen=True)
class Clock:
    """How stamps are written.

    Attributes:
        dates: dates and times, or else plain numbers, which count steps or seconds as their writer likes.
        day_first: the order in 3/4/2020.
        zoned: stamps name their zone; they are read, and written, in UTC.
        local: stamps name their zone, but are days and the like: all show the same time of day where they are from.
            They are read, and written, as they stand there: in UTC, a day in summer began at another hour.
    """

    dates: bool = True
    day_first: bool = False
    zoned: bool = False
    local: bool = False

    def read(self, values: Values) -> tuple[Array, dict[int, str]]:
        """(int64 [row], microseconds since 1970 or millionths of the number; the reason for each without one).

        A row without a stamp is 0, and has a reason.
        """
        array = column(values)
        if self.dates:
            instants, errors = read_instants(array, self.day_first, local=self.local)
            missing = np.isnat(instants)
            moments = np.where(missing, np.datetime64(0, "us"), instants).astype(np.int64)
        else:
            numbers, errors = read_numbers(array)
            missing = ~(np.abs(numbers) <= LARGEST)
            # The whole part apart: as one product with a million a large number would be rounded.
            part, whole = np.modf(np.where(missing, 0, numbers))
            moments = whole.astype(np.int64) * SECOND + np.rint(part * SECOND).astype(np.int64)
        reasons = {int(row): errors.get(int(row), "there is no time stamp") for row in np.flatnonzero(missing)}
        return moments, reasons

    def text(self, moment: int, days: bool) -> str:
        """A moment as a person writes it.

        Args:
            days: the time of day says nothing.
        """
        if not self.dates:
            return f"{moment / SECOND:.12g}" if moment % SECOND else str(moment // SECOND)
        instant = np.datetime64(int(moment), "us")
        if days:
            return str(instant.astype("datetime64[D]"))
        exact = "s" if moment % SECOND == 0 else "us"
        return str(instant.astype(f"datetime64[{exact}]")).replace("T", " ") + ("+00:00" if self.zoned else "")


def clock_of(values: Values) -> Clock:
    """How the stamps of a column are written: as dates, or as numbers where more of them are numbers."""
    array = column(values)
    if array.dtype.kind == "M":
        return Clock()
    dates = Clock(True, day_first_of(lambda: [array])[0], _is_zoned(array))
    dates = _local(array, dates) if dates.zoned else dates
    if _are_dates_as_digits(array, dates):
        return dates
    return min((Clock(False), dates), key=lambda clock: len(clock.read(array)[1]))


def _local(array: Values, zoned: Clock) -> Clock:
    """The clock for stamps that name their zone: that of their own place, where it always shows the same time."""
    local = Clock(True, zoned.day_first, local=True)
    moments, missing = local.read(array)
    times = np.delete(moments, list(missing)) % DAY
    there = len(times) > 1 and bool((times == times[0]).all())
    return local if there and not np.array_equal(moments, zoned.read(array)[0]) else zoned


def _is_zoned(array: Values) -> bool:
    """Whether the first stamp that is there names its zone."""
    there = np.flatnonzero(canonical(array[:MANY_MISSING]) != None)  # noqa: E711
    first = array[there[0]] if len(there) else None
    return getattr(first, "tzinfo", None) is not None or (isinstance(first, str) and bool(_ZONE.search(first.strip())))


def _are_dates_as_digits(array: Values, dates: Clock) -> bool:
    """Whether nearly all stamps are numbers such as 20240131, or such as 202401: no other count leaves out 202413."""
    texts = {text for text in canonical(array).tolist() if text is not None}
    for size in (6, 8):
        digits = sorted(text for text in texts if len(text) == size and text.isdigit())
        if len(digits) >= FEWEST_DIGITS and len(digits) >= (1 - UNREADABLE) * len(texts):
            return len(dates.read(object_array(digits))[1]) <= UNREADABLE * len(digits)
    return False


@dataclass(frozen=True)
class Grid:
    """Evenly spaced moments, of which step 0 is at `anchor`.

    Attributes:
        unit: what is counted; weekdays leave out Saturdays and Sundays.
        size: so many units are one step.
        anchor: microseconds since 1970 of step 0.
        ends: of months, whether each moment is the month's last day rather than the day of the anchor.
        within: a stamp belongs to the step that it lies in, which its moment begins, rather than to the nearest one.
    """

    unit: Unit
    size: int
    anchor: int
    ends: bool = False
    within: bool = False

    def steps(self, moments: Array) -> tuple[Array, Array]:
        """(int64, the nearest step of each moment in microseconds; float64, how far off in steps)."""
        if self.unit == "microseconds":
            away = moments - self.anchor
            if self.within:
                return np.floor_divide(away, self.size), np.zeros(len(moments))
            found = np.floor_divide(away + self.size // 2, self.size)
            return found, np.abs(away - found * self.size) / self.size
        if self.unit == "weekdays":
            days, first = _days(moments), _days(np.array([self.anchor]))[0]
            found = np.where(
                days >= first, np.busday_count(first, days, _WEEK), -np.busday_count(days, first, _WEEK)
            ).astype(np.int64)
        else:
            found = np.floor_divide(_months(moments) - _months(np.array([self.anchor]))[0], self.size)
            if self.within:
                return found, np.zeros(len(moments))
        return found, np.abs(moments - self.moments(found)) / self.typical

    def moments(self, steps: Array) -> Array:
        """int64, microseconds since 1970 of each step."""
        steps = np.asarray(steps, np.int64)
        if self.unit == "microseconds":
            return np.asarray(self.anchor + steps * self.size)
        clock = self.anchor % DAY
        if self.unit == "weekdays":
            first = _days(np.array([self.anchor]))[0]
            found = np.busday_offset(first, steps, roll="forward", weekmask=_WEEK)
            return np.asarray(found.astype("datetime64[D]").astype(np.int64) * DAY + clock)
        months = (_months(np.array([self.anchor]))[0] + steps * self.size).astype("datetime64[M]")
        last = ((months + 1).astype("datetime64[D]") - 1).astype(np.int64)
        if self.ends:
            return np.asarray(last * DAY + clock)
        day = self.anchor // DAY - _months(np.array([self.anchor]))[:1].astype("datetime64[M]").astype(
            "datetime64[D]"
        ).astype(np.int64)
        return np.asarray(np.minimum(months.astype("datetime64[D]").astype(np.int64) + day, last) * DAY + clock)

    @property
    def typical(self) -> float:
        """Microseconds from one step to the next, about."""
        return {"microseconds": 1.0, "weekdays": float(DAY), "months": MONTH_DAYS * DAY}[self.unit] * self.size

    @property
    def days(self) -> bool:
        """Whether every moment is at midnight."""
        return self.anchor % DAY == 0 and (self.unit != "microseconds" or self.size % DAY == 0)

    def describe(self, dates: bool = True) -> str:
        """The spacing in words.

        >>> Grid("microseconds", 1800 * 10**6, 0).describe(), Grid("months", 1, 0).describe()
        ('30 minutes', '1 month')
        """
        if not dates:
            return f"{self.size / SECOND:.6g}"
        if self.unit != "microseconds":
            name = self.unit.removesuffix("s")
            return f"{self.size} {name}" + "s" * (self.size > 1)
        for name, size in (("week", 7 * DAY), ("day", DAY), ("hour", 3600 * SECOND), ("minute", 60 * SECOND)):
            if self.size % size == 0:
                return f"{self.size // size} {name}" + "s" * (self.size > size)
        return f"{self.size / SECOND:.6g} seconds"

    def periods(self, dates: bool = True) -> tuple[int, ...]:
        """Steps of a day, a week and a year, where they are whole and at least two: what may come again."""
        if not dates:
            return ()
        if self.unit == "months":
            return (12 // self.size,) if 12 % self.size == 0 and self.size < 12 else ()
        if self.unit == "weekdays":
            return (5, 261) if self.size == 1 else ()
        found = [span // self.size for span in (DAY, 7 * DAY) if span % self.size == 0 and span > self.size]
        if self.size >= 3600 * SECOND and self.size < 180 * DAY:
            found.append(round(365.2425 * DAY / self.size))
        return tuple(dict.fromkeys(found))

    def calendar(self, steps: Array, parts: Sequence[str]) -> Array:
        """float32 [step, WAVES * part]: sines and cosines of where in each cycle a step is."""
        shares = cycles(self.moments(steps).astype("datetime64[us]"))
        waves = [
            wave(2 * np.pi * number * shares[part])
            for part in parts
            for number in range(1, HARMONICS + 1)
            for wave in (np.sin, np.cos)
        ]
        return np.stack(waves, axis=1).astype(np.float32) if waves else np.zeros((len(steps), 0), np.float32)

    def parts(self, span: int, dates: bool = True) -> tuple[str, ...]:
        """Cycles that a step's place in is told: only what varies, and what came more than once within `span` steps."""
        if not dates:
            return ()
        found = ["clock"] if self.typical < DAY else []
        if self.unit == "weekdays" or (self.unit == "microseconds" and self.size % (7 * DAY)):
            found.append("weekday")
        # Within one year the season is a second name of the moment itself, by which single days are learned.
        return (*found, "season") if span * self.typical > YEAR_STEPS else tuple(found)

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return asdict(self)

    @classmethod
    def restore(cls, state: Json) -> Self:
        """The inverse of `state`."""
        kind, size, anchor = str(state["unit"]), int(state["size"]), int(state["anchor"])
        found = cls(kind, size, anchor, bool(state["ends"]), bool(state.get("within", False)))  # type: ignore[arg-type]
        if found.unit not in ("microseconds", "weekdays", "months") or found.size < 1:
            raise ValueError(f"a grid of {found.size} {found.unit}")
        return found


def spaced(spacing: str, dates: bool) -> Grid | None:
    """A grid of such steps, which begin at midnight, on Mondays, with months; None where the text names no steps.

    >>> spaced("1 day", True)
    Grid(unit='microseconds', size=86400000000, anchor=0, ends=False, within=True)
    >>> spaced("3 weeks", True).describe(), spaced("1 hour", False), spaced("0.5", False).describe(False)
    ('3 weeks', None, '0.5')
    """
    found = _SPACING.fullmatch(spacing.strip())
    number = float(found[1] or 1) if found else 0.0
    size = round(number * (SPACINGS.get(found[2], 0) if dates else SECOND * (not found[2]))) if found else 0
    if found and dates and found[2] == "month" and number == int(number) >= 1:
        return Grid("months", int(number), 0, within=True)
    return Grid("microseconds", size, MONDAY if size % (7 * DAY) == 0 and dates else 0, within=True) if size else None


def grid_of(moments: Sequence[Array], dates: bool, spacing: str = "") -> Grid | None:
    """The grid that stamps lie on: its spacing is the median of the steps between them; None without two stamps.

    Args:
        moments: int64, of each series.
        dates: the moments are dates; months and weekdays are then known by the stamps themselves.
        spacing: of the grid, where it is given: "1 day", or a number where moments are numbers.

    Raises:
        InputError: the spacing is none.
    """
    if spacing:
        grid = spaced(spacing, dates)
        if grid is None:
            units = (
                f"a number and one of {', '.join((*SPACINGS, 'month'))}, e.g. 1day" if dates else "a number, e.g. 10"
            )
            raise InputError(f"The spacing {spacing!r} cannot be read.", where="task.spacing", fix=f"Give {units}.")
        return grid if any(len(np.unique(one)) > 1 for one in moments) else None
    each = [np.unique(one) for one in moments]
    apart = np.concatenate([np.diff(one) for one in each] or [np.zeros(0, np.int64)])
    if not len(apart):
        return None
    size = max(1, int(np.median(apart)))
    every = np.concatenate(each)
    if dates and size >= SHORTEST_MONTH * DAY:
        monthly = _monthly(every, size)
        if monthly is not None:
            return monthly
    if dates and size == DAY and _only_weekdays(every):
        return Grid("weekdays", 1, int(every.min()))
    # The grid goes through most of the stamps: the first one may be off.
    rest, counts = np.unique(every % size, return_counts=True)
    through = every[every % size == rest[counts.argmax()]]
    return Grid("microseconds", size, int(through.min()))


def _monthly(moments: Array, size: int) -> Grid | None:
    """A grid of months, if nearly all stamps are on one day of the month, or on its last one."""
    months = round(size / DAY / MONTH_DAYS)
    starts = moments.astype("datetime64[us]").astype("datetime64[M]")
    day = moments // DAY - starts.astype("datetime64[D]").astype(np.int64)
    left = (starts + 1).astype("datetime64[D]").astype(np.int64) - moments // DAY
    same, first = (day == np.bincount(day).argmax()), int(moments.min())
    if (same | (left == 1)).mean() < 1 - OFF:
        return None
    ends = bool((left == 1).mean() > same.mean())
    usual = moments[left == 1] if ends else moments[same]
    return Grid("months", months, int(usual.min()) if len(usual) else first, ends)


def _only_weekdays(moments: Array) -> bool:
    days = (moments // DAY + 3) % 7
    return bool((days < 5).all()) and bool(np.ptp(moments) >= 14 * DAY)


_WEEK = "1111100"


def _days(moments: Array) -> Array:
    return np.asarray(moments, np.int64).astype("datetime64[us]").astype("datetime64[D]")


def _months(moments: Array) -> Array:
    """int64, months since January 1970."""
    return np.asarray(moments, np.int64).astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)

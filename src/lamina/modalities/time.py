"""Time: dates and moments."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._canonical import canonical, column, object_array
from lamina.modalities._instant import day_first_of, read_instants
from lamina.modalities._options import choice, read_options
from lamina.modalities._sample import running_sum

Array = np.ndarray[Any, Any]

YEAR = 365.2425 * 86400
DAY = 86_400_000_000
WIDEST = 10.0
PARTS = ("year", "season", "day", "weekday", "clock")
UNITS = (("day", DAY), ("hour", 3_600_000_000), ("minute", 60_000_000), ("second", 1_000_000), ("microsecond", 1))
TIME_NAME = re.compile(r"date|day|time|(^|_)(ts|dt|when|at|on)$")


def parse(values: Values, day_first: bool | None = None, unit: str = "") -> Array:
    """Dates and times, datetime64[us] [row]; NaT where missing or unreadable. Zones are converted to UTC.

    Args:
        values: raw values: typed, ISO 8601, 31/1/2020, 1/31/2020, 31.1.2020, "31 Jan 2020 10:00 PM", 20200131.
        day_first: the order in 3/4/2020; None decides on these values.
        unit: "s", "ms", "us" or "ns" where numbers count from 1970.
    """
    if day_first is None:
        day_first = day_first_of(lambda: [values])[0]
    return read_instants(values, day_first, unit)[0]


def recognise(values: Values, name: str) -> Recognition | None:
    """Typed dates, or texts nearly all of which are dates; digits (20200131) only under a name that says so."""
    array = column(values)
    if array.dtype.kind == "M":
        return None if np.isnat(array).all() else Recognition(0.99, f"dates, {_range(parse(array))}")
    if array.dtype.kind != "O" and array.dtype.kind not in "iuf":
        return None
    day_first, order = day_first_of(lambda: [array])
    instants, errors = read_instants(array, day_first)
    found = instants[~np.isnat(instants)]
    if not len(found) or len(errors) > 0.05 * (len(found) + len(errors)):
        return None
    present = [text for text in canonical(array) if text is not None]
    digits = sum(text.isdigit() for text in present)
    if digits > 0.5 * len(present):
        dated = all(len(text) == 8 for text in present) and TIME_NAME.search(name.casefold())
        return Recognition(0.96, f"dates as digits, {_range(found)}") if dated else None
    return Recognition(0.96, f"dates, {_range(found)}" + (f", {order}" if order else ""))


def _range(instants: Array) -> str:
    found = instants[~np.isnat(instants)]
    return f"{_text(found.min(), 'day')} to {_text(found.max(), 'day')}"


def _text(instant: np.datetime64, precision: str) -> str:
    if precision == "microsecond":
        return str(instant).rstrip("0").rstrip(".") if "." in str(instant) else str(instant)
    return str(instant.astype(f"datetime64[{ {'day': 'D', 'hour': 'm', 'minute': 'm', 'second': 's'}[precision] }]"))


def describe(values: Values) -> dict[str, Json]:
    """Counts, first, middle and last moment, the usual step, and the precision."""
    array = column(values)
    day_first, order = day_first_of(lambda: [array])
    instants, errors = read_instants(array, day_first)
    found = np.sort(instants[~np.isnat(instants)])
    summary: dict[str, Json] = {
        "count": len(array),
        "missing": (len(array) - len(found) - len(errors)) / max(len(array), 1),
        "unreadable": len(errors),
        "distinct": len(np.unique(found)),
    }
    if not len(found):
        return summary
    precision = _precision(_divisor(0, found))
    steps = np.diff(np.unique(found)).astype(np.int64)
    return summary | {
        "min": _text(found[0], precision),
        "median": _text(found[len(found) // 2], precision),
        "max": _text(found[-1], precision),
        "step_days": float(np.median(steps)) / DAY if len(steps) else 0.0,
        "precision": precision,
        "order": order,
    }


def _divisor(unit: int, instants: Array) -> int:
    """The greatest common divisor, in microseconds, of `unit` and the moments."""
    return int(np.gcd(unit, np.gcd.reduce(np.abs(instants.astype(np.int64))))) if len(instants) else unit


def _precision(divisor: int) -> str:
    return next(name for name, size in UNITS if divisor % size == 0)


@dataclass(frozen=True)
class Encoder:
    """Time to float32 [row, part]: standardised time and year, then sine and cosine of what recurs, then a flag.

    Parts, each only if it varies in the training part: the moment itself (always there), limited to the training
    part's range; the year; season (the day of the year; only where training spans more than a year), day of the
    month, weekday and time of day, each as sine and cosine; "missing" where training had gaps. The two standardised
    ones are limited to ten standard deviations. A missing value is all zeros but its flag.

    Options: "day_first": the order in 3/4/2020 (found in training); "unit": "s", "ms", "us" or "ns" where numbers
    count from 1970.
    """

    modality: ClassVar[str] = "time"

    parts: tuple[str, ...]
    flag: bool
    day_first: bool
    order: str
    """How the order of day and month was found; "" where it plays no role."""
    unit: str
    start: int
    """The first training moment, microseconds since 1970."""
    end: int
    center: float
    """Mean of the training moments, years since `start`."""
    spread: float
    """Standard deviation of the training moments in years, 1 where it is 0."""
    year_center: float
    year_spread: float
    precision: str
    """The coarsest unit that holds every training moment: what `decode` rounds to."""

    @property
    def feature(self) -> Feature:
        """details: "columns", the name of each column; "flag": the last one says what is missing."""
        names = ["time"]
        for part in self.parts:
            names += [part] if part == "year" else [f"{part}_sine", f"{part}_cosine"]
        names += ["missing"] if self.flag else []
        return Feature("numbers", (len(names),), "float32", details={"columns": names, "flag": self.flag})

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Learn the order of day and month, the range, and what varies, streaming.

        Raises:
            InputError: no moment at all, or a wrong option.
        """
        chosen = read_options("time", options, {"day_first": None, "unit": ""})
        unit = choice("time", "unit", chosen["unit"], ("", "s", "ms", "us", "ns"))
        day_first, order = day_first_of(chunks)
        if chosen["day_first"] is not None:
            if not isinstance(chosen["day_first"], bool):
                raise InputError(
                    f"The option 'day_first' of the modality 'time' is {chosen['day_first']!r}.",
                    fix="Give true or false.",
                )
            day_first, order = chosen["day_first"], "as the option day_first says"
        seen = _Seen()
        for values in chunks():
            seen.add(*read_instants(values, day_first, unit))
        if not seen.count:
            raise _no_time(seen.problem)
        return cls(
            parts=tuple(part for part in PARTS if len(seen.distinct[part]) > 1 and seen.recurs(part)),
            flag=seen.missing > 0,
            day_first=day_first,
            order=order,
            unit=unit,
            start=seen.start,
            end=seen.end,
            center=seen.mean("time"),
            spread=seen.spread("time"),
            year_center=seen.mean("year"),
            year_spread=seen.spread("year"),
            precision=_precision(seen.divisor),
        )

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """float32 [row, part]; what is no date is missing, with an error."""
        instants, errors = read_instants(values, self.day_first, self.unit)
        gaps = np.isnat(instants)
        known = np.where(gaps, np.datetime64(self.start, "us"), instants)
        years = (known.astype(np.int64) - self.start) / (YEAR * 1e6)
        # A moment after the training part is read as the last one of it: what time alone did to the answer is not
        # known there, and a line drawn on would run away. The recurring parts stay what they are.
        years = np.clip(years, 0, (self.end - self.start) / (YEAR * 1e6))
        columns = [np.clip((years - self.center) / self.spread, -WIDEST, WIDEST)]
        shares = cycles(known)
        first, last = cycles(np.array([self.start, self.end], dtype="datetime64[us]"))["year"]
        for part in self.parts:
            if part == "year":
                year = np.clip(shares[part], first, last)
                columns.append(np.clip((year - self.year_center) / self.year_spread, -WIDEST, WIDEST))
            else:
                columns += [np.sin(2 * np.pi * shares[part]), np.cos(2 * np.pi * shares[part])]
        array = np.where(gaps[:, None], 0, np.stack(columns, axis=1))
        if self.flag:
            array = np.concatenate([array, gaps[:, None]], axis=1)
        return Encoded(array.astype(np.float32), errors)

    def decode(self, array: Array) -> Values:
        """ISO texts at the training part's precision, object [row]; None where the flag says missing.

        The moment comes from the first column alone: exact to one part in ten million of the training range, and
        within ten standard deviations of its mean.
        """
        array = np.asarray(array, dtype=np.float64).reshape(len(array), *self.feature.shape)
        microseconds = (array[:, 0] * self.spread + self.center) * YEAR * 1e6 + self.start
        size = dict(UNITS)[self.precision]
        rounded = (np.rint(microseconds / size) * size).astype(np.int64).astype("datetime64[us]")
        texts = object_array(_text(instant, self.precision) for instant in rounded)
        if self.flag:
            texts[array[:, -1] > 0.5] = None
        return texts

    def state(self) -> dict[str, Json]:
        """As JSON."""
        return {**vars(self), "parts": list(self.parts)}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "parts": tuple(state["parts"])})


def cycles(instants: Array) -> dict[str, Array]:
    """The year, and where in the year, month, week and day a moment is, as a share of it from 0 to 1."""
    days = instants.astype("datetime64[D]")
    months = instants.astype("datetime64[M]")
    years = instants.astype("datetime64[Y]")
    number = days.astype(np.int64)
    return {
        "year": years.astype(np.int64) + 1970.0,
        "season": (number - years.astype("datetime64[D]").astype(np.int64)) / 366,
        "day": (number - months.astype("datetime64[D]").astype(np.int64)) / 31,
        "weekday": (number + 3) % 7 / 7,
        "clock": (instants.astype(np.int64) - number * DAY) / DAY,
    }


class _Seen:
    """What streaming over moments leaves behind; sums are relative to the first moment, so that they stay exact."""

    def __init__(self) -> None:
        self.count = self.missing = 0
        self.start = self.end = self.origin = self.divisor = self.first_year = 0
        self.sums = {"time": (0.0, 0.0), "year": (0.0, 0.0)}
        """Sum and sum of squares, in years from the first moment or its year."""
        self.distinct: dict[str, frozenset[float]] = {part: frozenset() for part in PARTS}
        self.problem = ""

    def add(self, instants: Array, errors: Mapping[int, str]) -> None:
        """Take in one chunk."""
        self.problem = self.problem or next(iter(errors.values()), "")
        found = instants[~np.isnat(instants)]
        self.missing += len(instants) - len(found)
        if not len(found):
            return
        moments, shares = found.astype(np.int64), cycles(found)
        if not self.count:
            self.start = self.end = self.origin = int(moments[0])
            self.first_year = int(shares["year"][0])
        self.count += len(found)
        self.start, self.end = min(self.start, int(moments.min())), max(self.end, int(moments.max()))
        self.divisor = _divisor(self.divisor, found)
        for part, known in self.distinct.items():
            if len(known) < 2:
                self.distinct[part] = known | frozenset(np.unique(shares[part])[:2].tolist())
        years = {"time": (moments - self.origin) / (YEAR * 1e6), "year": shares["year"] - self.first_year}
        for what, values in years.items():
            total, squares = self.sums[what]
            self.sums[what] = running_sum(total, values), running_sum(squares, values**2)

    def recurs(self, part: str) -> bool:
        """Whether the training moments span more than one year, for the season: within one, the day of the year is
        a second name of the moment itself; a network learns single days by it, and finds none of them later."""
        return part != "season" or self.end - self.start > YEAR * 1e6

    def mean(self, what: str) -> float:
        """Mean of "time" in years from `start`, or of "year"."""
        mean = self.sums[what][0] / self.count
        return mean + (self.first_year if what == "year" else (self.origin - self.start) / (YEAR * 1e6))

    def spread(self, what: str) -> float:
        """Standard deviation of "time" or "year" in years; 1 where it is 0."""
        total, squares = self.sums[what]
        return float(np.sqrt(max(squares / self.count - (total / self.count) ** 2, 0.0))) or 1.0


def _no_time(problem: str) -> InputError:
    if problem:
        return InputError(
            f"There is no date among the training values: {problem}.",
            fix="Give the column another modality, the option unit (s, ms, us, ns) for numbers, or the role ignore.",
        )
    return InputError("Every training value is missing.", fix="Give the column the role ignore.")

"""Dates and times as people write them, to datetime64[us]; with a zone: in UTC, without: as they stand."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._canonical import MISSING, column, map_distinct

UNITS = {"": 0, "s": 1_000_000, "ms": 1_000, "us": 1}
"""Epoch units in microseconds; "ns" is dealt with apart."""

_MISSING = MISSING | {"none", "-", "--", "missing", "unknown"}
_EPOCH = datetime(1970, 1, 1)
_CLOCK = (
    r"(?:(?:T|,?\s+|:)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2}|[+-]\d{2})?(?:\s*\([A-Z]+\))?)?"
)
_MONTH = r"(?P<name>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _pattern(form: str) -> re.Pattern[str]:
    return re.compile(form + _CLOCK, re.IGNORECASE | re.ASCII)


_YEAR_FIRST = _pattern(r"(?P<year>\d{4})(?P<divider>[-/.])(?P<month>\d{1,2})(?P=divider)(?P<day>\d{1,2})")
_TWO_FIRST = _pattern(r"(?P<first>\d{1,2})(?P<divider>[-/.])(?P<middle>\d{1,2})(?P=divider)(?P<year>\d{4}|\d{2})")
_NAMED = (
    _pattern(_WEEKDAY + r"(?P<day>\d{1,2})(?:st|nd|rd|th)?[\s/-]+" + _MONTH + r",?[\s/-]+(?P<year>\d{4}|\d{2})"),
    _pattern(_WEEKDAY + _MONTH + r"\s+(?P<day>\d{1,2})(?:st|nd|rd|th)?,?\s+(?P<year>\d{4})"),
    _pattern(r"(?P<year>\d{4})-" + _MONTH + r"-(?P<day>\d{1,2})"),
)
_MONTH_ONLY = re.compile(r"(?P<year>[12][0-9]{3})[-/](?P<month>[0-9]{1,2})")
_DIGITS = re.compile(
    r"(?P<year>1[5-9]\d\d|2\d{3})(?:(?P<month>\d{2})(?:(?P<day>\d{2})"
    r"(?:[T ]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})(?P<zone>Z)?)?)?)?(?:\.0+)?",
    re.ASCII,
)
_DECIMAL = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")


def read_instants(
    values: Values, day_first: bool, unit: str = "", *, local: bool = False
) -> tuple[np.ndarray[Any, Any], dict[int, str]]:
    """(datetime64[us] [row] with NaT where there is none, the reason by row where there was a value).

    Args:
        values: raw values.
        day_first: read 3/4/2020 as 3 April rather than 4 March; 25/12 in the wrong order is unreadable.
        unit: "s", "ms", "us" or "ns": numbers count from 1970-01-01; "": numbers such as 20200131, 202001 and 2020 are
            dates.
        local: zones are passed over: each moment is what clocks showed there.
    """
    array = column(values)
    if array.dtype.kind == "M":
        return array.astype("datetime64[us]"), {}
    instants = None if unit else _plain(array)
    if instants is None:
        instants = map_distinct(array, lambda value: _microseconds(value, day_first, unit, local), np.int64).view(
            "datetime64[us]"
        )
    empty = np.flatnonzero(np.isnat(instants))
    reasons = map_distinct(array[empty], lambda value: _problem(value, day_first))
    return instants, {int(row): reason for row, reason in zip(empty, reasons, strict=True) if reason}


def _plain(array: Values) -> np.ndarray[Any, Any] | None:
    """The fast way, for columns of texts such as "2020-01-31" or "2020-01-31T10:00:00.000", all of one length."""
    if array.dtype.kind != "O" or not len(array):
        return None
    items = array.tolist()
    if set(map(type, items)) != {str} or len(set(map(len, items))) != 1 or len(items[0]) not in (10, 16, 19, 23, 26):
        return None
    texts = np.array(items)
    letters = texts.view(np.uint32).reshape(len(items), -1)
    for place, letter in enumerate(letters.T):
        wanted = _PLACES.get(place)
        fits = np.isin(letter, [ord(sign) for sign in wanted]) if wanted else (letter >= 48) & (letter <= 57)
        if not fits.all():
            return None
    if (letters[:, :4] == ord("0")).all(axis=1).any():  # to NumPy a year like any other, to Python's calendar none
        return None
    try:
        return texts.astype("datetime64[us]")
    except ValueError:  # 30 February, or a leap second: the slow way knows what to do with each
        return None


_PLACES = {4: "-", 7: "-", 10: "T ", 13: ":", 16: ":", 19: "."}
_NO_COUNT = -(2**63)
"""What NumPy takes for NaT."""


def _microseconds(value: Any, day_first: bool, unit: str, local: bool) -> int:
    moment = _moment(value, day_first, unit, local)
    return _NO_COUNT if moment is None else moment


def _moment(value: Any, day_first: bool, unit: str, local: bool) -> int | None:
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else int(value.astype("datetime64[us]").astype(np.int64))
    if isinstance(value, datetime):
        if value != value:  # pandas.NaT is a datetime that differs from itself
            return None
        return _count(value.replace(tzinfo=None) if local else value)
    if isinstance(value, date):
        return _count(datetime(value.year, value.month, value.day))
    if value is None or isinstance(value, bool | np.bool_ | list | tuple | dict | np.ndarray):
        return None
    if isinstance(value, float | np.floating) and not math.isfinite(value):
        return None
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    text = str(value).strip()
    if unit:
        return _epoch(text, unit)
    return _from_text(text, day_first, local)


def _epoch(text: str, unit: str) -> int | None:
    if not _DECIMAL.fullmatch(text):
        return None
    whole = re.fullmatch(r"[+-]?[0-9]{1,25}", text, re.ASCII)
    count: float = int(text) if whole else float(text)
    if not math.isfinite(count):
        return None
    moment = count / 1000 if unit == "ns" else count * UNITS[unit]
    return int(moment) if abs(moment) <= 2e17 else None


def _from_text(text: str, day_first: bool, local: bool = False) -> int | None:
    if not text or len(text) > 60:
        return None
    match = _YEAR_FIRST.fullmatch(text)
    if match:
        return _assemble(match, int(match["year"]), int(match["month"]), int(match["day"]), local)
    match = _TWO_FIRST.fullmatch(text)
    if match:
        first, middle = int(match["first"]), int(match["middle"])
        day, month = (first, middle) if day_first else (middle, first)
        return _assemble(match, _full_year(match["year"]), month, day, local)
    match = _DIGITS.fullmatch(text)
    if match:
        return _assemble(match, int(match["year"]), int(match["month"] or 1), int(match["day"] or 1), local)
    for pattern in _NAMED:
        match = pattern.fullmatch(text)
        if match:
            month = _NAMES.index(match["name"].lower()) + 1
            return _assemble(match, _full_year(match["year"]), month, int(match["day"]), local)
    match = _MONTH_ONLY.fullmatch(text)
    return _assemble(match, int(match["year"]), int(match["month"]), 1, local) if match else None


def _full_year(text: str) -> int:
    """Two digits mean 1970 to 2069."""
    year = int(text)
    return year if len(text) == 4 else year + (1900 if year >= 70 else 2000)


def _assemble(match: re.Match[str], year: int, month: int, day: int, local: bool) -> int | None:
    parts = match.groupdict()
    hour, minute, second = (int(parts.get(name) or 0) for name in ("hour", "minute", "second"))
    half = (parts.get("half") or "").replace(".", "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "pm" else 0)
    fraction = int(((parts.get("fraction") or "") + "000000")[:6])
    extra = timedelta(seconds=1) if second == 60 else timedelta()  # a leap second
    try:
        zone = None if local else _zone(parts.get("zone"))
        return _count(datetime(year, month, day, hour, minute, min(second, 59), fraction, zone) + extra)
    except (ValueError, OverflowError):
        return None


def _zone(text: str | None) -> timezone | None:
    if not text:
        return None
    if text.upper() in ("Z", "UTC", "GMT"):
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _count(moment: datetime) -> int | None:
    if moment.tzinfo is not None:
        try:
            moment = moment.astimezone(UTC).replace(tzinfo=None)
        except OverflowError:
            return None
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _problem(value: Any, day_first: bool) -> str | None:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return None
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    text = str(value).strip()
    if text.casefold() in _MISSING:
        return None
    shown = text if len(text) <= 40 else text[:40] + "…"
    swapped = _TWO_FIRST.fullmatch(text) and _from_text(text, not day_first) is not None
    order = f" in the order {'day/month' if day_first else 'month/day'} of the column" if swapped else ""
    return f"cannot read {shown!r} as a date or time{order}"


def day_first_of(chunks: Callable[[], Iterable[Values]]) -> tuple[bool, str]:
    """Whether days stand before months in dates such as 3/4/2020, and how that is known ("" where it plays no role).

    Decided on the whole column. Where no value tells (or values disagree), dots and hyphens mean day first, slashes
    month first.
    """
    day = month = slash = other = 0
    for values in chunks():
        array = column(values)
        if array.dtype.kind != "O":
            continue
        for text in {item for item in array.tolist() if type(item) is str and len(item) <= 60}:
            match = _TWO_FIRST.fullmatch(text.strip())
            if match:
                day += int(match["first"]) > 12
                month += int(match["middle"]) > 12
                slash += match["divider"] == "/"
                other += match["divider"] != "/"
    if not slash + other:
        return True, ""
    if bool(day) != bool(month):
        return bool(day), f"{'day' if day else 'month'} first, as {day or month} values show"
    order = "month" if slash >= other else "day"
    doubt = "values disagree" if day else "no value shows the order"
    return order == "day", f"{order} first is assumed ({doubt}; the option day_first decides)"

"""Figures as a person reads them; what is not known is a dash, never "nan"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.evaluate.results import Interval
from lamina.evaluate.scores import BY_GROUP, ERRORS, POINTS, RATES, digits, title
from lamina.report.axes import is_finite

UNKNOWN = "–"
PERCENT = RATES | ERRORS | BY_GROUP | frozenset(("accuracy", "balanced_accuracy", "exact_match", "mape"))
"""Scores said in percent; the others that lie between 0 and 1 keep their three decimals."""


def score_name(name: str) -> str:
    """A score's name with its first letter large."""
    text = title(name)
    return text[:1].upper() + text[1:]


def number(value: object, unit: str = "") -> str:
    """Three or four significant digits, thousands separated.

    >>> number(1234567), number(0.034567), number(3.4e38), number(float("nan"))
    ('1,234,567', '0.0346', '3.40e+38', '–')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not is_finite(value):
        return UNKNOWN
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        text = f"{int(value):,}"
    elif 1000 <= abs(value) < 1e15:
        text = f"{value:,.0f}"
    else:
        text = digits(value)
    return f"{text} {unit}" if unit else text


def percent(share: object, places: int = 1) -> str:
    """A share as a percentage; what is nearly all or nearly nothing has the digits that tell it from these.

    >>> percent(0.947), percent(0.99972), percent(0.0002), percent(1.0)
    ('94.7%', '99.97%', '0.02%', '100.0%')
    """
    if not is_finite(share):
        return UNKNOWN
    texts = [f"{100 * share:.{digits}f}" for digits in range(places, places + 4)]
    return next((text for text in texts if share in (0, 1) or float(text) not in (0, 100)), texts[0]) + "%"


def score(name: str, value: float, unit: str = "") -> str:
    """A score's value: a percentage, three decimals, or a figure with its unit."""
    if not is_finite(value):
        return UNKNOWN
    if name in PERCENT:
        return percent(value)
    if unit:
        return f"{digits(value)} {unit}"
    return (
        f"{value:.3f}" if name in POINTS or (abs(value) < 10 and value != 0 and abs(value) >= 0.001) else number(value)
    )


def span(name: str, interval: Interval) -> str:
    """The ends of a score's interval: "0.823 to 0.871"; "" where they are not known."""
    if not (is_finite(interval.low) and is_finite(interval.high)):
        return ""
    low, high = score(name, interval.low), score(name, interval.high)
    return f"{low.removesuffix('%')} to {high}" if name in PERCENT else f"{low} to {high}"


def difference(name: str, interval: Interval | None) -> str:
    """A difference with its sign and interval: "+2.1 points (1.2 to 3.0)"."""
    if interval is None or not is_finite(interval.value):
        return UNKNOWN
    factor, unit = (100, " points") if name in POINTS else (1, f" {interval.unit}" if interval.unit else "")

    def plain(value: float) -> str:
        text = f"{factor * value:.1f}" if factor == 100 else digits(value)
        return text.replace("-0.0", "0.0").replace("-", "−") if factor == 100 else text.replace("-", "−")

    known = is_finite(interval.low) and is_finite(interval.high)
    ends = f" ({plain(interval.low)} to {plain(interval.high)})" if known else ""
    return f"{'+' if interval.value > 0 else ''}{plain(interval.value)}{unit}{ends}"


def duration(seconds: object) -> str:
    """Seconds, minutes or hours.

    >>> duration(0.21), duration(75), duration(4000)
    ('0.2 s', '1 min 15 s', '1 h 7 min')
    """
    if not is_finite(seconds) or seconds < 0:
        return UNKNOWN
    if seconds < 0.1:
        return "under 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, rest = divmod(round(whole / 60), 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def size(count: object) -> str:
    """Bytes as kB, MB or GB."""
    if not is_finite(count):
        return UNKNOWN
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # From 999.5 of the next smaller unit on, three digits are those of a whole one of this.
        if count >= 0.9995 * factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} bytes"


def rows(count: int) -> str:
    """A count of rows.

    >>> rows(1), rows(2000)
    ('1 row', '2,000 rows')
    """
    return f"{count:,} row{'' if count == 1 else 's'}"


def words(name: str) -> str:
    """A key as words: "quartile_1" is "quartile 1"."""
    return str(name).replace("_", " ")


def brief(value: Any, limit: int = 160) -> str:
    """Any JSON value on one line: figures rounded, lists and mappings by their first parts."""
    text = _brief(value)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _brief(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{words(key)} {_brief(part)}" for key, part in list(value.items())[:8])
    if isinstance(value, list | tuple):
        pairs = [item for item in value if isinstance(item, list | tuple) and len(item) == 2]
        if value and len(pairs) == len(value):
            return ", ".join(f"{_brief(first)} ({_brief(second)})" for first, second in pairs[:8])
        return ", ".join(_brief(part) for part in value[:8])
    return " ".join(str(value).split())

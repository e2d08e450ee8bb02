"""Moments as numbers that can be put in order, whether they are written as counts of seconds or as dates."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._canonical import column
from lamina.modalities._instant import day_first_of, read_instants
from lamina.modalities._number_text import read_numbers

Array = np.ndarray[Any, Any]
READABLE = 0.98
"""Share of values that must be moments in a column of times."""


def read_times(values: Values, dates: bool, day_first: bool | None = None) -> Array:
    """float64 [row], later is more; NaN where there is none. Numbers as they are; dates in seconds since 1970.

    Args:
        day_first: the order in 3/4/2020; None decides on these values.
    """
    array = column(values)
    if not dates and array.dtype.kind != "M":
        return read_numbers(array)[0]
    if day_first is None:
        day_first = day_first_of(lambda: [array])[0]
    instants, _ = read_instants(array, day_first)
    seconds = instants.astype("datetime64[us]").astype(np.int64) / 1e6
    return np.where(np.isnat(instants), np.nan, seconds)


def are_dates(values: Values) -> bool:
    """Are the values dates rather than numbers, by which of the two reads more of them?"""
    if column(values).dtype.kind == "M":
        return True
    numbers, dates = (np.isfinite(read_times(values, way)).sum() for way in (False, True))
    return bool(dates > numbers)


def is_time(values: Values) -> bool:
    """Can nearly all values be put in order of time?"""
    found = read_times(values, are_dates(values))
    return bool(np.isfinite(found).mean() >= READABLE and len(np.unique(found)) > 1)

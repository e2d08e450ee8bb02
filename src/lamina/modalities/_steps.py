"""One series, however it is written, to float64 [time, channel]."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from lamina.modalities._canonical import MISSING
from lamina.modalities._number_text import LARGEST, parse_plain

Array = np.ndarray[Any, Any]


def steps_of(value: Any) -> Array | str | None:
    """float64 [time, channel] with NaN for gaps; None if the whole series is missing; a text says what is wrong.

    Reads lists and arrays of numbers [time] or [time, channel], JSON texts of them, and texts of numbers divided by
    spaces, commas or semicolons.
    """
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, str):
        text = value.strip()
        if text.casefold() in MISSING:
            return None
        value = _from_text(text)
        if value is None:
            return f"cannot read {text if len(text) <= 40 else text[:40] + '…'!r} as a series of numbers"
    if not isinstance(value, list | tuple | np.ndarray):
        return f"{str(value)[:40]!r} is no series of numbers"
    return _from_list(value)


def _from_text(text: str) -> list[Any] | None:
    if text.startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) else None
    parts = text.replace(";", " ").replace(",", " ").split()
    numbers = parse_plain(parts) if len(parts) > 1 else None
    return None if numbers is None else numbers.tolist()


def _from_list(value: Any) -> Array | str | None:
    if isinstance(value, np.ndarray) and value.dtype.kind not in "fiubO":
        return f"an array of {value.dtype} is no series of numbers"
    try:
        steps = np.array(value, dtype=np.float64)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return _explain(value)
    if steps.ndim == 1:
        steps = steps[:, None]
    if steps.ndim != 2:
        return f"a series has one or two axes (time, channel), this has {steps.ndim}"
    if not steps.size:
        return None
    steps[~(np.abs(steps) <= LARGEST)] = np.nan
    return steps


def _explain(value: Any) -> str:
    widths = {len(item) if isinstance(item, list | tuple | np.ndarray) else 1 for item in value}
    if len(widths) > 1:
        return f"the steps have different numbers of channels: {', '.join(map(str, sorted(widths)[:5]))}"
    return "not every step is a number"


def fill(steps: Array) -> Array:
    """[time, channel] without gaps: linear between the neighbors, the nearest value at the ends.

    A channel without any number stays NaN.
    """
    if not np.isnan(steps).any():
        return steps
    filled = steps.copy()
    places = np.arange(len(steps))
    for channel in range(steps.shape[1]):
        known = ~np.isnan(steps[:, channel])
        if known.any() and not known.all():
            filled[:, channel] = np.interp(places, places[known], steps[known, channel])
    return filled


def resample(steps: Array, length: int) -> Array:
    """[time, channel] to [length, channel], first and last step kept, linear between the steps."""
    if len(steps) == length:
        return steps
    places = np.linspace(0, len(steps) - 1, length)
    known = np.arange(len(steps))
    return np.stack([np.interp(places, known, channel) for channel in steps.T], axis=1)

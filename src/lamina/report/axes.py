"""Round ticks and linear scales for the charts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard


@dataclass(frozen=True)
class Scale:
    """From values in [low, high] to positions in [start, end]."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        inside = min(max(value, self.low), self.high)
        return round(self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def finite(values: Iterable[float | None]) -> list[float]:
    """Those of the values that are finite numbers."""
    return [float(value) for value in values if is_finite(value)]


def is_finite(value: object) -> TypeGuard[float]:
    """Is it a number that can be drawn?"""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def step_of(low: float, high: float, count: int) -> float:
    """The round step (1, 2 or 5 times a power of ten) that gives about `count` ticks.

    >>> step_of(0, 1, 5)
    0.2
    """
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    return next(float(f"{factor * power:.3g}") for factor in (1, 2, 5, 10) if factor * power >= rough * 0.9999)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from `low` to `high`, both ends inside.

    >>> ticks(0.03, 0.98)
    [0.2, 0.4, 0.6, 0.8]
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return [low] if math.isfinite(low) else []
    step = step_of(low, high, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def widened(values: Iterable[float], *, zero: bool = False, count: int = 5) -> tuple[float, float]:
    """Round ends around the values, with 0 inside if wanted; never empty."""
    found = finite(values)
    low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    # Ends are told with twelve digits: what differs only in the last of them is one value.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(high) * 0.1 or 1.0
        low, high = (min(low, 0.0), high + margin) if zero and low >= 0 else (low - margin, high + margin)
    step = step_of(low, high, count)
    ends = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return float(f"{ends[0]:.12g}"), float(f"{ends[1]:.12g}")


def tick_text(value: float, step: float) -> str:
    """A tick's label, with the digits that its neighbors need.

    >>> tick_text(0.4, 0.2), tick_text(20000, 5000), tick_text(0.00004, 0.00002), tick_text(1.702e9, 2e6)
    ('0.4', '20k', '4e-5', '1.702e9')
    """
    if value == 0:
        return "0"
    largest = max(abs(value), abs(step))
    if largest >= 1e9 or abs(step) < 1e-4:
        apart = math.floor(math.log10(abs(value))) - math.floor(math.log10(abs(step)) + 1e-9) if step else 1
        mantissa, exponent = f"{value:.{min(max(apart, 1), 12)}e}".split("e")
        return f"{mantissa.rstrip('0').removesuffix('.')}e{int(exponent)}"
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(step) >= size / 2 and largest >= size:
            return f"{value / size:.6g}{letter}"
    places = max(0, -math.floor(math.log10(abs(step)) + 1e-9)) if step else 2
    return f"{value:,.{places}f}"

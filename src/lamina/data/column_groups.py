"""Series that a table keeps as numbered columns: t0, t1, ... t149."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.schema import Values
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_of, read_numbers

FEWEST = 16
"""Fewer numbered columns than this are kept as numbers of their own."""
ALIKE = 0.5
"""Neighbouring steps of a series correlate at least this much; principal components and survey answers do not."""
ROWS = 1000

_NUMBERED = re.compile(r"(.*?)[_\-. ]?(\d+)", re.DOTALL)
_STEP_NAMES = frozenset({"t", "time", "step", "timestep", "time_step", "tick", "lag", "frame", "sample", "signal"})


@dataclass(frozen=True)
class ColumnGroup:
    """Numbered columns in order.

    Attributes:
        name: what they have in common, the name of the field they may become.
        columns: at least FEWEST, numbered without a gap.
        series: whether they are one series.
        reason: why, for the user to read.
    """

    name: str
    columns: tuple[str, ...]
    series: bool
    reason: str


def column_groups(sample: Mapping[str, Values], taken: Collection[str] = ()) -> tuple[ColumnGroup, ...]:
    """Runs of numeric columns with a common prefix and consecutive whole numbers behind it.

    Args:
        sample: raw values of some rows by column.
        taken: names that a group must not have, besides the other columns'.
    """
    numbered: dict[str, dict[int, str]] = {}
    for column in sample:
        match = _NUMBERED.fullmatch(column)
        if match:
            numbered.setdefault(match[1], {})[int(match[2])] = column
    groups = []
    for prefix, by_number in numbered.items():
        columns = _longest_run(by_number)
        if len(columns) < FEWEST or not all(_numeric(sample[column], column) for column in columns):
            continue
        others = (set(sample) | set(taken)) - set(columns)
        name = prefix or "series"
        name = f"{name}_series" if name in others else name
        series, reason = _judge(prefix, columns, sample)
        groups.append(ColumnGroup(name, columns, series, reason))
    return tuple(groups)


def _longest_run(by_number: Mapping[int, str]) -> tuple[str, ...]:
    numbers = sorted(by_number)
    if not numbers:
        return ()
    breaks = [0, *(position for position in range(1, len(numbers)) if numbers[position] != numbers[position - 1] + 1)]
    runs = [numbers[first:last] for first, last in pairwise([*breaks, len(numbers)])]
    return tuple(by_number[number] for number in max(runs, key=len))


def _numeric(values: Values, column: str) -> bool:
    """Numbers, or nothing at all: a step may lie beyond the end of every series in the sample."""
    if registry.module("modalities", "number").recognise(values[:ROWS], column) is not None:
        return True
    return all(text is None for text in canonical(values))


def _judge(prefix: str, columns: tuple[str, ...], sample: Mapping[str, Values]) -> tuple[bool, str]:
    what = f"{len(columns)} numbered columns, {columns[0]} to {columns[-1]}"
    if prefix.casefold().strip("_-. ") in _STEP_NAMES:
        return True, f"{what}: steps of one series by their name"
    decimal = decimal_of(sample[column][:ROWS] for column in columns)
    table = np.stack([read_numbers(sample[column][:ROWS], decimal)[0] for column in columns], axis=1)
    alike = _neighbour_correlation(table)
    if alike is None:
        return False, f"{what}, too few different rows to tell whether they are one series"
    if alike < ALIKE:
        return False, f"{what}, but neighbours are not alike (correlation {alike:.2f}): no series"
    return True, f"{what}, each like its neighbour (correlation {alike:.2f}): one series"


def _neighbour_correlation(table: np.ndarray[Any, Any]) -> float | None:
    """Median correlation of neighbouring columns; table is [row, step] with NaN. None if nothing varies."""
    if len(table) < 3:
        return None
    present = ~np.isnan(table)
    mean = np.where(present, table, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
    centered = np.where(present, table - mean, 0.0)
    spread = np.sqrt((centered**2).sum(axis=0))
    both = (spread[1:] > 0) & (spread[:-1] > 0)
    if not both.any():
        return None
    products = (centered[:, 1:] * centered[:, :-1]).sum(axis=0)[both]
    return float(np.median(products / (spread[1:] * spread[:-1])[both]))

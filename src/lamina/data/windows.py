"""Windows of one long series: where they begin, and from their scores back to a score for each step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from lamina.data.schema import Json, Values
from lamina.modalities._canonical import object_array
from lamina.modalities._number_text import read_numbers

Array = np.ndarray[Any, Any]

WINDOW = "window"
"""What the column of windows is called."""
LONGEST = 4096
"""Steps of a window at most: so many places a network may tell of."""
DECIMALS = (".", ",")


@dataclass(frozen=True)
class Cut:
    """How one long series becomes windows.

    Attributes:
        columns: what is measured at every step, in order.
        length: steps of a window.
        stride: steps from the beginning of one window to that of the next.
        decimal: "." or ",", as the numbers are written.
    """

    columns: tuple[str, ...]
    length: int
    stride: int = 1
    decimal: str = "."

    def starts(self, steps: int) -> Array:
        """int64 [window]: where the windows of so many steps begin; the last one ends at the end.

        >>> Cut(("x",), 4, 3).starts(9).tolist()
        [0, 3, 5]
        """
        last = steps - self.length
        if last < 0:
            return np.empty(0, np.int64)
        regular = np.arange(0, last + 1, self.stride, dtype=np.int64)
        return regular if regular[-1] == last else np.append(regular, last)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`; ValueError for what no cut can be."""
        columns, decimal = tuple(str(name) for name in state["columns"]), str(state.get("decimal", "."))
        found = cls(columns, int(state["length"]), int(state["stride"]), decimal)
        if not found.columns or not 2 <= found.length <= LONGEST or not 1 <= found.stride <= found.length:
            raise ValueError("windows that do not cover a series")
        if decimal not in DECIMALS:
            raise ValueError(f"the decimal sign {decimal!r}")
        return found


class Cover:
    """The mean over the windows that cover each step, while windows come in order; holds no more than it must.

    Args:
        length: steps of a window.
        numbers: that are known of each stretch.
        around: so many steps to either side count in with each step (`near`).
    """

    def __init__(self, length: int, numbers: int = 1, around: int = 0) -> None:
        self.length, self.around, self.first = length, around, 0
        self._begin = 0
        """The step that the first of the sums is of: up to `around` before the first that is not yet taken."""
        self._sums, self._counts = np.zeros((0, numbers)), np.zeros((0, 1))

    def add(self, starts: Array, values: Array) -> None:
        """Count windows in: where they begin, int64 [window], and the numbers of each of its equal stretches, [window,
        stretch, number]; NaN for windows that say nothing."""
        known = ~np.isnan(values).any(axis=(1, 2))
        starts, values = starts[known] - self._begin, values[known]
        if not len(starts):
            return
        end = int(starts.max()) + self.length
        self._reach(end)
        edges, ones = _edges(self.length, values.shape[1]), np.ones((len(starts), 1))
        for totals, parts in ((self._sums, values.transpose(1, 0, 2)), (self._counts, [ones] * values.shape[1])):
            change = np.zeros((end + 1, totals.shape[1]))
            for part, (begin, over) in zip(parts, edges, strict=True):
                np.add.at(change, starts + begin, part)
                np.add.at(change, starts + over, -part)
            totals[:end] += change.cumsum(axis=0)[:end]

    def take(self, until: int, ended: bool = False) -> Array:
        """[step, number]: the means of the steps not yet taken, up to `until`, which no later window covers; NaN where
        none does.

        Args:
            ended: there are no further steps; else the last `around` of these wait for what comes after them.
        """
        until = max(until if ended else until - self.around, self.first)
        before, size = self.first - self._begin, until - self.first
        self._reach(before + size)
        counts = self._counts[before : before + size]
        # Sums of many scores, taken apart again, leave a little of each other: what counts none has no mean.
        known = counts > 0.5
        sums, counts = (near(totals, self.around)[before : before + size] for totals in (self._sums, self._counts))
        means = np.where(known, sums / np.where(known, counts, 1.0), np.nan)
        spare = max(until - self.around - self._begin, 0)
        self._sums, self._counts = self._sums[spare:], self._counts[spare:]
        self.first, self._begin = until, self._begin + spare
        return np.asarray(means)

    def _reach(self, end: int) -> None:
        grown = max(end - len(self._sums), 0)
        self._sums, self._counts = (np.pad(totals, ((0, grown), (0, 0))) for totals in (self._sums, self._counts))


def near(totals: Array, around: int) -> Array:
    """[step, number]: of each step the sum over itself and so many to either side, as far as there are any.

    >>> near(np.array([[1.0], [10.0], [100.0]]), 1)[:, 0].tolist()
    [11.0, 111.0, 110.0]
    """
    if not around:
        return totals
    wide = np.pad(totals, ((around, around), (0, 0)))
    return np.asarray(sliding_window_view(wide, 2 * around + 1, axis=0).sum(axis=-1))


def of_stretches(values: Array, length: int, around: int = 0) -> Array:
    """[window, step, number] of [window, stretch, number]: what each step of single windows has, as `covered` gives it
    where windows do not overlap.

    >>> of_stretches(np.array([[[0.0], [3.0]]]), 4, 1)[0, :, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    shares = np.zeros((length, values.shape[1]))
    for stretch, (begin, over) in enumerate(_edges(length, values.shape[1])):
        shares[begin:over, stretch] = 1.0
    shares = near(shares, around)
    return np.asarray(np.einsum("ts,wsn->wtn", shares / shares.sum(axis=1, keepdims=True), values))


def covered(starts: Array, length: int, values: Array, around: int = 0) -> tuple[Array, Array]:
    """(Steps that windows cover, int64, ascending; the mean [step, number] of those windows' values): all at once.

    Args:
        values: [window, stretch, number], of equal stretches of each window.
        around: so many steps to either side count in with each step.

    >>> covered(np.array([0, 1]), 2, np.array([1.0, 3.0])[:, None, None])[1].tolist()
    [[1.0], [2.0], [3.0]]
    """
    cover = Cover(length, values.shape[2], around)
    cover.add(starts, np.asarray(values, np.float64))
    means = cover.take(int(starts.max()) + length, ended=True)
    steps = np.flatnonzero(~np.isnan(means[:, 0]))
    return steps, means[steps]


def _edges(length: int, stretches: int) -> list[tuple[int, int]]:
    """(First step, step after the last) of each of a window's equal stretches: a step lies in the one that its own
    number says, rounded down."""
    cuts = [-(-place * length // stretches) for place in range(stretches + 1)]
    return list(pairwise(cuts))


def measured(values: Mapping[str, Values], columns: Sequence[str], decimal: str = ".") -> tuple[Array, dict[int, str]]:
    """(float64 [step, channel] with NaN for gaps, the reason by step where there is something that is no number)."""
    found, reasons = [], dict[int, str]()
    for column in columns:
        numbers, errors = read_numbers(values[column], decimal)
        found.append(numbers)
        reasons |= {step: f"{column}: {reason}" for step, reason in errors.items()}
    return np.stack(found, axis=1), reasons


def as_cells(windows: Array) -> Values:
    """[window, step, channel] as values of one column: lists of numbers, or with several channels lists of lists."""
    return object_array((windows[:, :, 0] if windows.shape[2] == 1 else windows).tolist())


def streamed(chunks: Iterable[Array], cut: Cut) -> Iterator[tuple[Array, Array, int]]:
    """(Where they begin, the windows [window, step, channel], the steps seen so far), of steps [step, channel] that
    come in pieces; a series that is too short has none."""
    kept = np.empty((0, len(cut.columns)))
    first = following = 0
    for chunk in chunks:
        kept = np.concatenate([kept, chunk])
        seen = first + len(kept)
        starts = np.arange(following, seen - cut.length + 1, cut.stride, dtype=np.int64)
        if len(starts):
            yield starts, _at(kept, starts - first, cut.length), seen
            following = int(starts[-1]) + cut.stride
        # The last window of all ends at the end, which is not known yet.
        spare = max(min(following, seen - cut.length) - first, 0)
        kept, first = kept[spare:], first + spare
    last = first + len(kept) - cut.length
    if last >= 0 and last > following - cut.stride:
        yield np.array([last]), _at(kept, np.array([last - first]), cut.length), last + cut.length


def _at(steps: Array, starts: Array, length: int) -> Array:
    return np.asarray(steps[starts[:, None] + np.arange(length)])

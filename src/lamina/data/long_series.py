"""One long series in time order, read as a table of windows of it.

A table in which every row is a moment, and neighbouring rows are nearly alike, is one example and not many: rows drawn
from it at random would be known from their neighbours. So its steps are divided by time first, and windows are cut
within each part; everything after sees a table of windows, each with its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.column_groups import column_groups
from lamina.data.schema import Values
from lamina.data.tables import Table
from lamina.data.windows import LONGEST, WINDOW, Cut, as_cells, measured
from lamina.errors import InputError, nearest
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities._number_text import decimal_of, read_numbers

Array = np.ndarray[Any, Any]

PART = "split"
"""What the column is called that says which part a window belongs to."""
FEWEST = 200
"""Steps of a table that is taken for one series."""
LOOKED_AT = 20_000
"""Steps, the first of the training part, that say whether it is one series and what its period is."""
ALIKE = 0.7
"""Correlation of each row with the next, in every column of numbers, from which on a table is taken for one series."""
SHORTEST, USUAL, MOST = 16, 64, 512
"""Steps of a window that is chosen: at least, without a period, at most."""
PERIODIC = 0.3
"""Autocorrelation from which on a peak is a period."""
MOST_WINDOWS = 20_000
"""Windows that are cut, unless that needs strides of more than an eighth of a window."""
LEAST_IN_PART = 10
"""Windows in each part."""
VALIDATION_SHARE = 0.2


@dataclass(frozen=True)
class Wishes:
    """What the user says of a long series; nothing where None.

    Attributes:
        window: steps; 0: the rows are rows.
        columns: what is measured.
        normal: the label of ordinary steps.
        labels: columns of labels, of which the first is used.
        aside: columns that are left out.
    """

    window: int | None = None
    stride: int | None = None
    columns: tuple[str, ...] | None = None
    normal: str | None = None
    labels: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


class WindowTable(Table):
    """A long series as a table with a window in every row.

    Its columns are the window (a list of numbers, or of lists where several are measured), the part that it belongs
    to, and where there are labels, the one of its steps that is not ordinary, or the ordinary one.

    Args:
        base: a row for each step.
        parts: (name, first step, step after the last), in order of time.
        label: a column, or "".
        ordinary: the label of ordinary steps.

    Attributes:
        cut: how it is cut.
        starts: int64 [row], the first step of each window.
    """

    def __init__(
        self, base: Table, cut: Cut, parts: Sequence[tuple[str, int, int]], label: str = "", ordinary: str = ""
    ) -> None:
        self.base, self.cut, self.label, self.ordinary = base, cut, label, ordinary
        starts = [first + cut.starts(last - first) for _, first, last in parts]
        self.starts = np.concatenate(starts)
        names = [name for name, _, _ in parts]
        self._part = object_array(np.repeat(np.array(names, object), [len(some) for some in starts]))
        told = f"{base.fingerprint} {cut} {parts} {label} {ordinary}"
        super().__init__(
            (),
            name=base.name,
            columns=(WINDOW, PART, *((label,) if label else ())),
            root=base.root,
            fingerprint=hashlib.blake2b(told.encode(), digest_size=16).hexdigest(),
            unreadable=(*base.unreadable, *_unreadable(base, cut)),
            notes=base.notes,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: Array | Sequence[int], columns: Sequence[str] | None = None) -> dict[str, Values]:
        """The windows and labels of some rows, cut anew from the table of steps."""
        wanted, numbers = self._known(columns), np.asarray(rows, dtype=np.int64)
        if len(numbers) and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows from {numbers.min()} to {numbers.max()} of a table of {len(self)} rows")
        # Windows overlap: every step is read once.
        steps = self.starts[numbers, None] + np.arange(self.cut.length)
        every, back = np.unique(steps, return_inverse=True)
        raw = self.base.take(every, [*self.cut.columns, *((self.label,) if self.label in wanted else ())])
        found: dict[str, Values] = {}
        for name in wanted:
            if name == WINDOW:
                found[name] = as_cells(measured(raw, self.cut.columns, self.cut.decimal)[0][back.reshape(steps.shape)])
            elif name == PART:
                found[name] = self._part[numbers]
            else:
                found[name] = self._labels(canonical(raw[name])[back.reshape(steps.shape)])
        return found

    def _labels(self, texts: Values) -> Values:
        """[window] of [window, step]: the first label that is not ordinary, else the ordinary one."""
        strange = (texts != None) & (texts != self.ordinary)  # noqa: E711  (element by element)
        first = strange.argmax(axis=1) if texts.shape[1] else np.zeros(len(texts), np.int64)
        chosen = texts[np.arange(len(texts)), first]
        return np.where(strange.any(axis=1), chosen, self.ordinary).astype(object)

    def labels(self, steps: Array) -> Values:
        """The label of each step, as text; None where there is none."""
        return np.asarray(canonical(self.base.take(steps, [self.label])[self.label]), dtype=object)

    def place(self, row: int) -> str:
        """The places of its first and last step."""
        first = int(self.starts[row])
        return f"{self.base.place(first)} to {self.base.place(first + self.cut.length - 1).rpartition(', ')[2]}"


def _unreadable(base: Table, cut: Cut) -> tuple[tuple[str, str], ...]:
    """Steps with something that is no number: gaps, in the windows."""
    found = []
    for rows, chunk in base.chunks(None, cut.columns):
        reasons = measured(chunk, cut.columns, cut.decimal)[1]
        found += [(base.place(int(rows[step])), reason) for step, reason in sorted(reasons.items())]
    return tuple(found)


def windowed(table: Table, boundary: int | None, wishes: Wishes, test_share: float) -> tuple[WindowTable, str] | None:
    """(The table of windows, why), if the table is one long series, or is to be read as one; else None.

    Args:
        boundary: the first row of test data given separately.
        test_share: of the steps, the last, where there is none.

    Raises:
        InputError: it is to be read as one and cannot be.
    """
    if wishes.window == 0:
        return None
    train = int(len(table) * (1 - test_share)) if boundary is None else boundary
    sample = table.take(np.arange(min(train, LOOKED_AT)), list(table.columns))
    columns, decimal, why = _measured_columns(sample, wishes)
    if not columns:
        if wishes.window or wishes.columns:
            raise InputError(
                f"{table.name} cannot be read as one long series: {why}.",
                where="task.options.window",
                fix='Give consecutive rows of numbers in time order, or name the columns: --set task.series=["a"]',
            )
        return None
    learned = train - round(train * VALIDATION_SHARE)
    spans = (("train", 0, learned), ("validation", learned, train), ("test", train, len(table)))
    longest = min(last - first for _, first, last in spans) - LEAST_IN_PART + 1
    length, reason = _length(measured(sample, columns, decimal)[0], longest, wishes.window, table.name)
    stride = wishes.stride or max(1, min(-(-len(table) // MOST_WINDOWS), length // 8))
    label = wishes.labels[0] if wishes.labels else ""
    cut = Cut(columns, length, stride, decimal)
    return WindowTable(table, cut, spans, label, _ordinary(table, label, learned, wishes)), f"{why}; {reason}"


def _ordinary(table: Table, label: str, train: int, wishes: Wishes) -> str:
    """The label of ordinary steps: as the user says, or the commonest."""
    if not label:
        return ""
    if label not in table.columns:
        raise InputError(f"There is no column {label!r}.", where="--target", fix=nearest(label, table.columns))
    if wishes.normal is not None:
        return str(wishes.normal)
    texts = [
        text for text in canonical(table.take(np.arange(min(train, LOOKED_AT)), [label])[label]) if text is not None
    ]
    return max(sorted(set(texts)), key=texts.count) if texts else ""


def _measured_columns(sample: Mapping[str, Values], wishes: Wishes) -> tuple[tuple[str, ...], str, str]:
    """(Columns of what is measured at every step, their decimal sign, why it is one series), or ((), sign, why not)."""
    rest = [name for name in sample if name not in (*wishes.labels, *wishes.aside)]
    if wishes.columns is not None:
        for name in wishes.columns:
            if name not in sample:
                raise InputError(
                    f"There is no column {name!r}.", where="task.options.series", fix=nearest(name, sample)
                )
        return wishes.columns, decimal_of(sample[name] for name in wishes.columns), "one long series, as you asked"
    decimal = decimal_of(sample[name] for name in rest)
    times = [name for name in rest if _counts(sample[name], name, decimal)]
    values = [name for name in rest if name not in times]
    steps = len(next(iter(sample.values())))
    odd = next((name for name in values if not _numeric(sample[name], decimal)), "")
    if odd or not values:
        return (), decimal, f"{odd!r} holds no numbers" if odd else "there is no column of numbers"
    if wishes.window:
        return tuple(values), decimal, "one long series, as you asked"
    if steps < FEWEST or any(group.series for group in column_groups({name: sample[name] for name in values})):
        return (), decimal, f"fewer than {FEWEST} steps" if steps < FEWEST else "every row is a series"
    alike = {name: _alike(read_numbers(sample[name], decimal)[0]) for name in values}
    values = [name for name in values if not np.isnan(alike[name])]
    if not values or min(alike[name] for name in values) < ALIKE:
        return (), decimal, "neighbouring rows are not alike"
    least = min(alike[name] for name in values)
    why = f"one long series: each row is much like the next (they correlate with {least:.2f})"
    return tuple(values), decimal, why


def _numeric(values: Values, decimal: str) -> bool:
    numbers, errors = read_numbers(values, decimal)
    return bool(len(errors) <= 0.01 * len(numbers) and not np.isnan(numbers).all())


def _counts(values: Values, name: str, decimal: str) -> bool:
    """Does the column only count the steps, as numbers or times that ascend?"""
    numbers, errors = read_numbers(values, decimal)
    if errors or np.isnan(numbers).any():
        time = registry.module("modalities", "time")
        if time.recognise(values, name) is None:
            return False
        instants = time.parse(values)
        return bool(not np.isnat(instants).any() and (np.diff(instants.astype(np.int64)) >= 0).all())
    return bool(len(numbers) > 1 and (np.diff(numbers) > 0).all())


def _alike(numbers: Array) -> float:
    """The correlation of each step with the next; NaN where the series never varies."""
    known = numbers[~np.isnan(numbers)]
    if len(known) < 3 or known.std() <= 1e-12 * max(1.0, np.abs(known).max()):
        return float("nan")
    centred = known - known.mean()
    return float((centred[1:] * centred[:-1]).mean() / centred.var())


def _length(steps: Array, longest: int, asked: int | None, name: str) -> tuple[int, str]:
    """(Steps of a window, why)."""
    most = min(longest, LONGEST)
    if asked is not None:
        if not 2 <= asked <= most:
            raise InputError(
                f"A window of {asked:,} steps does not go into the parts of {name}.",
                where="task.options.window",
                fix=f"Give from 2 to {max(most, 2):,} steps, or more data.",
            )
        return asked, f"windows of {asked:,} steps, as you asked"
    if most < SHORTEST:
        raise InputError(
            f"{name} is too short to be divided by time and cut into windows.",
            where=name,
            fix="Give a longer series, or take its rows as they are: --set task.window=0",
        )
    # A part must hold several windows that do not overlap, or its windows are all the same.
    room = min(MOST, max(longest // 2, SHORTEST))
    period = main_period(steps)
    if not period:
        length = min(USUAL, room)
        return length, f"windows of {length} steps, for it has no period"
    length = period * -(-SHORTEST // period)
    if length <= room:
        times = f"{length // period} periods" if length > period else "the main period"
        return length, f"windows of {length} steps, {times} by the autocorrelation"
    return room, f"windows of {room} steps: of the main period of {period} no more fits into the parts"


def main_period(steps: Array) -> int:
    """The lag with the highest autocorrelation beyond its first minimum below zero; 0 if there is no clear one.

    Args:
        steps: [step, channel], NaN for gaps.
    """
    known = steps - np.nanmean(steps, axis=0)
    known = np.nan_to_num(known / np.maximum(np.nanstd(steps, axis=0), 1e-12))
    size = len(known)
    spectrum = np.fft.rfft(known, 2 * size, axis=0)
    products = np.fft.irfft(np.square(np.abs(spectrum)), axis=0)[: size // 2].sum(axis=1)
    # Each lag has fewer pairs than the one before it.
    correlation = products / np.arange(size, size - len(products), -1)
    correlation /= max(correlation[0], 1e-12)
    below = np.flatnonzero(correlation < 0)
    if not len(below):
        return 0
    inner = np.arange(max(int(below[0]), 1), len(correlation) - 1)
    peaks = inner[(correlation[inner] >= correlation[inner - 1]) & (correlation[inner] > correlation[inner + 1])]
    if not len(peaks) or correlation[peaks].max() < PERIODIC:
        return 0
    # Of two, three, ... periods each correlates nearly as well: the first that is about as high as any.
    return int(peaks[correlation[peaks] >= 0.9 * correlation[peaks].max()][0])

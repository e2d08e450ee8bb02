"""A long table for a sealed forecaster: rows become a window for each series, answers a line for each step to come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from lamina.data.schema import Field, Values
from lamina.modalities._canonical import canonical, object_array
from lamina.modalities.window import Encoder
from lamina.model.answers import Part
from lamina.model.rows import RawChunk, Reads, Rows, open_rows, row_of_json

WINDOW = "window"
ROWS = 8192
"""Rows of a long table that are read at a time."""


def window_of(model: Reads) -> tuple[str, Encoder] | None:
    """(The input that reads windows, its encoder), or None where the model has none."""
    for name, item in model.inputs.items():
        if item.field.modality == WINDOW:
            return name, cast(Encoder, cast(Any, item).encoder)
    return None


@dataclass(frozen=True)
class Column:
    """A column of a long table, as `lamina.model.rows` asks for it."""

    field: Field


@dataclass(frozen=True)
class LongTable:
    """What is read of a long table: like a model whose inputs are its columns."""

    inputs: Mapping[str, Column]
    targets: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.inputs)

    def fitting(self, batch: int) -> int:
        return max(batch, ROWS)


def long_table(model: Reads, data: Any) -> LongTable | None:
    """What a forecaster reads of `data`, if that is a long table; None if it is windows, or the model no forecaster."""
    found = window_of(model)
    if found is None:
        return None
    name, encoder = found
    rows = data if isinstance(data, list | tuple) else [data]
    if any(isinstance(row, Mapping) and name in row for row in rows):
        return None
    own = [encoder.group] if encoder.group else []
    columns = dict.fromkeys((*own, *encoder.columns, *_about(model)))
    return LongTable({column: Column(Field(column, "text")) for column in columns}, model.targets)


def opened(data: Any, model: Reads, batch: int, root: Path | None = None) -> Rows:
    """`open_rows`, or for a forecaster and a long table, a row for each series."""
    if isinstance(data, str) and data.lstrip().startswith("{"):
        data = [row_of_json(data)]
    long = long_table(model, data)
    if long is None:
        return open_rows(data, model, batch, root)
    return rows_of(open_rows(as_columns(data), long, batch), model, model.fitting(batch))


def as_columns(data: Any) -> Any:
    """A long table that was given as one row of lists, such as JSON text, as columns; anything else as it is."""
    if isinstance(data, list | tuple) and len(data) == 1 and isinstance(data[0], Mapping):
        lists = [isinstance(value, list | tuple) for value in data[0].values()]
        return data[0] if lists and all(lists) else data
    return data


@dataclass(frozen=True)
class Series:
    """One series of a long table, raw.

    Attributes:
        name: what it is called; None where that is not known.
        table: by column that windows are made of, in the rows' order.
        about: by column that describes the series, its first value that is not missing.
        error: why it cannot be used, or "".
    """

    name: str | None
    table: Mapping[str, Values]
    about: Mapping[str, Any]
    error: str


@dataclass(frozen=True)
class Held:
    """A long table, all rows together.

    Attributes:
        values: raw, by column.
        series: (name, rows, what is wrong with it), in the order in which they begin; rows that could not be read
            follow, each by itself.
        columns: that windows are made of.
        about: columns that describe a series.
    """

    values: Mapping[str, Values]
    series: Sequence[tuple[str | None, np.ndarray[Any, Any], str]]
    columns: Sequence[str]
    about: Sequence[str]

    def __len__(self) -> int:
        return len(self.series)

    def some(self, begin: int, end: int) -> Iterator[Series]:
        """The series from one number to another."""
        for name, rows, error in self.series[begin:end]:
            table = {column: self.values[column][rows] for column in self.columns}
            yield Series(name, table, {column: first(self.values[column][rows]) for column in self.about}, error)


def held(chunks: Iterable[RawChunk], model: Reads) -> Held:
    """The series of a long table."""
    found = window_of(model)
    assert found is not None
    _, encoder = found
    parts, errors, start = list[RawChunk](), dict[int, str](), 0
    for chunk in chunks:
        parts.append(chunk)
        errors |= {start + row: reason for row, reason in chunk.errors.items()}
        start += len(chunk)
    table = long_table(model, None)
    assert table is not None
    values = {column: joined([part.values[column] for part in parts]) for column in table.columns}
    series = _series(values, encoder.group, start, errors)
    return Held(values, series, encoder.columns, _about(model))


def _about(model: Reads) -> list[str]:
    """Columns that describe a series."""
    return [item.field.name for item in model.inputs.values() if item.field.modality != WINDOW]


def rows_of(chunks: Iterable[RawChunk], model: Reads, size: int) -> Rows:
    """One row for each series of a long table, in the order in which they begin, and how answers become lines again.

    Args:
        chunks: of the long table; they are held together.
        size: series at a time.
    """
    found = window_of(model)
    assert found is not None
    name, encoder = found
    whole = held(chunks, model)

    def windows() -> Iterator[RawChunk]:
        for begin in range(0, len(whole), size):
            own = list(whole.some(begin, begin + size))
            raw = {column: object_array(one.about[column] for one in own) for column in whole.about}
            raw[name] = object_array(one.table for one in own)
            raw[_NAMES] = object_array(one.name for one in own)
            yield RawChunk(raw, len(own), {row: one.error for row, one in enumerate(own) if one.error})

    return Rows(windows(), lines=Lines(name, encoder, cast(Any, model).answer_columns))


_NAMES = "series of the rows"
"""Beside the columns that the model reads: what each series is called."""


def _series(
    values: Mapping[str, Values], group: str, rows: int, errors: Mapping[int, str]
) -> list[tuple[str | None, np.ndarray[Any, Any], str]]:
    """(Name, rows, what is wrong with it) of each series, in the order of their first rows; unreadable rows apart."""
    keys = canonical(values[group]) if group else object_array([""] * rows)
    usable = np.ones(rows, bool)
    usable[list(errors)] = False
    found: dict[str | None, list[int]] = {}
    for row in np.flatnonzero(usable).tolist():
        found.setdefault(keys[row], []).append(row)
    nobody = f"there is no value of {group!r}"
    series = [(key, np.array(own, np.int64), "" if key is not None else nobody) for key, own in found.items()]
    return series + [(None, np.zeros(0, np.int64), reason) for reason in errors.values()]


def joined(parts: Sequence[Values]) -> Values:
    """One column of the pieces of it."""
    if not parts:
        return object_array([])
    return np.concatenate(
        parts if len({part.dtype for part in parts}) == 1 else [part.astype(object) for part in parts]
    )


def first(values: Values) -> Any:
    """The first value that is not missing."""
    there = np.flatnonzero(canonical(values) != None)  # noqa: E711
    return values[there[0]] if len(there) else None


@dataclass(frozen=True)
class Lines:
    """From answers, one row for each series, to one line for each series and step: name, moment, forecast, intervals.

    Attributes:
        name: the input that reads windows.
        encoder: of it.
        answers: the columns of what is forecast.
    """

    name: str
    encoder: Encoder
    answers: tuple[str, ...]

    @property
    def kinds(self) -> dict[str, str]:
        """ "text" or "number" by column."""
        group = {self.encoder.group: "text"} if self.encoder.group else {}
        return {**group, self.encoder.time: "text", **dict.fromkeys(self.answers, "number")}

    def of(self, chunk: RawChunk, part: Part) -> Part:
        """The lines of some series; a series that cannot be answered is one line with its error."""
        found: dict[str, list[Any]] = {name: [] for name in self.kinds}
        errors: dict[int, str] = {}
        numbers = [name for name, kind in self.kinds.items() if kind == "number"]
        for row in range(part.rows):
            begin = len(found[self.encoder.time])
            if row in part.errors:
                name = chunk.values[_NAMES][row]
                errors[begin] = f"{self.encoder.group} {name!r}: {part.errors[row]}" if name else part.errors[row]
                moments: list[str | None] = [None]
            else:
                moments = list(self.encoder.ahead(chunk.values[self.name][row]))
            found[self.encoder.time] += moments
            if self.encoder.group:
                found[self.encoder.group] += [chunk.values[_NAMES][row]] * len(moments)
            for name in numbers:
                found[name] += [np.nan] if row in part.errors else part.columns[name][row]
        columns = {
            name: np.array(values, np.float64) if name in numbers else object_array(values)
            for name, values in found.items()
        }
        return Part(len(found[self.encoder.time]), columns, errors)


def table_text(table: Mapping[str, Values]) -> str:
    """A window as JSON text, as `lamina.modalities.window` reads it."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.datetime64):
            return None if np.isnat(value) else str(value)
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, float) and not np.isfinite(value):
            return None
        return value if value is None or isinstance(value, bool | int | float | str) else str(value)

    return json.dumps({name: [plain(value) for value in values] for name, values in table.items()}, ensure_ascii=False)

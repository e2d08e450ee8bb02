"""What every reader gives: a stream of rows with their places, and rows that could not be read with the reason."""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lamina.data.schema import Values
from lamina.errors import InputError

CHUNK_WEIGHT = 8_000_000
"""A chunk ends when its raw text or bytes exceed this, so that long documents do not fill the memory."""

Kind = Literal["missing", "text", "integer", "number", "boolean", "bytes", "time", "mixed"]
"""What the values of a column are: decides the array they go into."""

Unit = Literal["line", "row", "record", "rowid", "index", "path"]
"""What the mark of a row counts."""


@dataclass(frozen=True)
class RowChunk:
    """Some rows in input order, readable or not.

    Attributes:
        start: the first row's number in the input, from 0.
        values: column name to values; None (or NaN) where a row could not be read.
        errors: position in this chunk (from 0) to the reason why that row could not be read.
        marks: int64 [row], where each row is: its line, record, row number, ... (see `Source.unit`).
    """

    start: int
    values: dict[str, Values]
    errors: dict[int, str]
    marks: np.ndarray[Any, Any]

    def __len__(self) -> int:
        return len(self.marks)


@dataclass(frozen=True)
class Source:
    """One file, query, folder or frame as a stream of rows.

    Attributes:
        name: how the user knows it, e.g. "loans.csv".
        columns: the columns' names, in order.
        unit: what the marks count.
        chunks: call it with a largest number of rows to stream from the start.
        kinds: what each column's values are ("text" where not given).
        batches: for Arrow formats, streams `pyarrow.RecordBatch`es of `schema` instead.
        schema: the `pyarrow.Schema` of the batches.
        notes: what the user should know about how it was read.
    """

    name: str
    columns: tuple[str, ...]
    unit: Unit
    chunks: Callable[[int], Iterator[RowChunk]]
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    batches: Callable[[], Iterator[Any]] | None = None
    schema: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """A source and the part of the split that all its rows belong to ("" if not said)."""

    source: Source
    split: str = ""


@dataclass(frozen=True)
class Collection:
    """Everything that one piece of raw data holds: the parts in order, with the same columns.

    Attributes:
        name: how the user knows it.
        parts: read one after the other.
        root: the folder that relative paths in the values start from.
        fingerprint: hash of the raw data.
        unreadable: (place, reason) of what is no row at all, e.g. a folder that may not be opened.
        notes: what the user should know about how it was read.
    """

    name: str
    parts: tuple[Part, ...]
    root: Path | None
    fingerprint: str
    unreadable: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The first part's columns, and `split` if the parts say it."""
        first = self.parts[0]
        return first.source.columns + (("split",) if first.split else ())


def place(name: str, unit: Unit, mark: int, path: str = "") -> str:
    """Where a row is, in words that let the user find it."""
    match unit:
        case "path":
            return path
        case "rowid":
            return f"{name}, row {mark} (rowid)"
        case "index":
            return f"{name}, row {mark} (counted from 0)"
        case _:
            return f"{name}, {unit} {mark}"


def check_columns(columns: Sequence[str], where: str, *, fix: str = "Give every column a name of its own.") -> None:
    """Refuse empty and repeated column names.

    Raises:
        InputError: naming the first offender and its number.
    """
    seen: dict[str, int] = {}
    for number, column in enumerate(columns, start=1):
        if not column.strip():
            raise InputError(f"Column {number} of {len(columns)} has no name.", where=where, fix=fix)
        if column in seen:
            raise InputError(
                f"Two columns are called {column!r} (number {seen[column]} and number {number}).", where=where, fix=fix
            )
        seen[column] = number


def kind_of(value: Any) -> Kind:
    """What one Python value is."""
    if value is None:
        return "missing"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool | np.bool_):
        return "boolean"
    if isinstance(value, int | np.integer):
        return "integer" if -(2**63) <= int(value) < 2**63 else "mixed"
    if isinstance(value, float | np.floating | decimal.Decimal):
        return "number"
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes"
    if isinstance(value, datetime.date | np.datetime64):
        return "time"
    return "mixed"


def joint_kind(first: Kind, second: Kind) -> Kind:
    """The kind of a column that holds both."""
    if first == second or second == "missing":
        return first
    if first == "missing":
        return second
    return "number" if {first, second} == {"integer", "number"} else "mixed"


def object_array(values: Sequence[Any]) -> Values:
    """A 1-D object array, also of lists of one length, which NumPy would make a matrix of."""
    return np.fromiter(values, dtype=object, count=len(values))


def column_values(values: Sequence[Any], kind: Kind) -> Values:
    """Python values of one kind as an array.

    Whole numbers are int64; with gaps float64 with NaN, or an object array where float64 would not hold them
    exactly. Truth values with gaps are an object array. Times are datetime64[us] in UTC.
    """
    gaps = any(value is None for value in values)
    if kind == "integer":
        if not gaps:
            return np.array(values, dtype=np.int64)
        if all(value is None or abs(value) <= 2**53 for value in values):
            return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
    if kind == "number":
        return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
    if kind == "boolean" and not gaps:
        return np.array(values, dtype=np.bool_)
    if kind == "time":
        return np.array([_utc(value) for value in values], dtype="datetime64[us]")
    return object_array([bytes(value) if isinstance(value, bytearray | memoryview) else value for value in values])


def _utc(value: Any) -> Any:
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    return value


Record = tuple[int, int, Any]
"""(mark, weight in bytes or characters, the row, or the reason as `Unreadable`)."""


@dataclass(frozen=True)
class Unreadable:
    """Stands where a row could not be read."""

    reason: str


def gather(
    records: Iterable[Record], size: int, blank: Any, build: Callable[[list[Any]], dict[str, Values]]
) -> Iterator[RowChunk]:
    """Group a stream of records into chunks of at most `size` rows and `CHUNK_WEIGHT` raw bytes.

    Args:
        records: the stream.
        size: the largest number of rows in a chunk.
        blank: the row that stands for one that could not be read.
        build: makes columns of a list of rows.
    """
    start, weight = 0, 0
    rows: list[Any] = []
    marks: list[int] = []
    errors: dict[int, str] = {}
    for mark, record_weight, row in records:
        if isinstance(row, Unreadable):
            errors[len(rows)] = row.reason
            row = blank
        rows.append(row)
        marks.append(mark)
        weight += record_weight
        if len(rows) >= size or weight >= CHUNK_WEIGHT:
            yield RowChunk(start, build(rows), errors, np.array(marks, dtype=np.int64))
            start += len(rows)
            weight, rows, marks, errors = 0, [], [], {}
    if rows:
        yield RowChunk(start, build(rows), errors, np.array(marks, dtype=np.int64))


class Columns:
    """Learns the columns and kinds of rows that are mappings, in order of first appearance."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}

    def see(self, row: Mapping[str, Any]) -> None:
        """Take one row into account."""
        for name, value in row.items():
            self.kinds[name] = joint_kind(self.kinds.get(name, "missing"), kind_of(value))

    def build(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Values]:
        """Columns of rows; an absent key is a missing value."""
        return {name: column_values([row.get(name) for row in rows], kind) for name, kind in self.kinds.items()}

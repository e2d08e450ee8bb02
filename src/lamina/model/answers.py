"""The answers of a sealed model: one entry for each input row, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from lamina.data.schema import Values
from lamina.errors import MissingDependencyError

ERROR, PATH = "error", "path"


@dataclass(frozen=True)
class Part:
    """The answers to one chunk of rows.

    Attributes:
        rows: how many.
        columns: answers by column; where a row has an error they mean nothing.
        errors: position in the chunk to the reason why that row could not be answered.
        paths: the rows' files, where rows are files.
    """

    rows: int
    columns: Mapping[str, Values]
    errors: Mapping[int, str]
    paths: Values | None = None


class Answers(Sequence[dict[str, Any]]):
    """A list of rows: {target: answer, "target.p": ..., "error": None}; a failed row has None and its reason.

    Attributes:
        columns: the rows' keys, in order: `path` first where rows are files, `error` last.
    """

    def __init__(self, columns: Sequence[str], parts: Sequence[Part], *, named_by_path: bool = False) -> None:
        self._answers = tuple(columns)
        self._parts = tuple(parts)
        self._named = named_by_path
        self._starts = np.cumsum([0, *(part.rows for part in parts)])
        self.columns = ((PATH,) if named_by_path else ()) + self._answers + (ERROR,)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, row: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, row: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, row: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        number = row + len(self) if row < 0 else row
        if not 0 <= number < len(self):
            raise IndexError(f"row {row} of {len(self)} answers")
        place = int(np.searchsorted(self._starts, number, side="right") - 1)
        return row_of(self._parts[place], number - int(self._starts[place]), self._named)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for part in self._parts:
            for row in range(part.rows):
                yield row_of(part, row, self._named)

    def __repr__(self) -> str:
        return f"Answers({len(self)} rows, {len(self.errors)} errors, columns={list(self.columns)})"

    @property
    def errors(self) -> dict[int, str]:
        """Row number to the reason why it could not be answered."""
        return {
            int(start) + row: reason
            for start, part in zip(self._starts[:-1], self._parts, strict=True)
            for row, reason in part.errors.items()
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """All rows as dicts of plain Python values."""
        return list(self)

    def to_columns(self) -> dict[str, Values]:
        """All columns as arrays; a failed row is NaN in a column of numbers and None in others."""
        failed = np.array(sorted(self.errors), dtype=np.int64)
        found: dict[str, Values] = {}
        if self._named:
            found[PATH] = _objects([row[PATH] for row in self])
        for name in self._answers:
            pieces = [part.columns[name] for part in self._parts]
            values = np.concatenate(pieces) if pieces else np.zeros(0)
            if len(failed):
                floats = values.dtype.kind == "f"
                values = values.copy() if floats or values.dtype == object else values.astype(object)
                values[failed] = np.nan if floats else None
            found[name] = values
        errors = self.errors
        found[ERROR] = _objects([errors.get(row) for row in range(len(self))])
        return found

    def to_pandas(self) -> Any:
        """A pandas DataFrame."""
        try:
            import pandas
        except ImportError:
            raise MissingDependencyError("pandas", "to_pandas") from None
        return pandas.DataFrame(self.to_columns())

    def to_polars(self) -> Any:
        """A polars DataFrame."""
        try:
            import polars
        except ImportError:
            raise MissingDependencyError("polars", "to_polars") from None
        columns = self.to_columns()
        return polars.DataFrame(
            {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
        )


def row_of(part: Part, row: int, named_by_path: bool) -> dict[str, Any]:
    """One row of a part as plain Python values."""
    reason = part.errors.get(row)
    found: dict[str, Any] = {}
    if named_by_path and part.paths is not None:
        found[PATH] = plain(part.paths[row])
    for name, values in part.columns.items():
        found[name] = None if reason is not None else plain(values[row])
    found[ERROR] = reason
    return found


def plain(value: Any) -> Any:
    """A NumPy scalar as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


def _objects(values: Sequence[Any]) -> Values:
    found = np.empty(len(values), dtype=object)
    for position, value in enumerate(values):
        found[position] = value
    return found

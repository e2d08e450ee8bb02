"""A table in memory with the interface of lamina.data.tables.Table, for tests of what reads tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def column(values: Any) -> np.ndarray[Any, Any]:
    """Lists that hold text or None become object arrays, as readers give them."""
    if isinstance(values, np.ndarray) and values.dtype.kind not in "US":
        return values
    items = list(values)
    if all(type(item) in (int, float, bool) for item in items):
        return np.array(items)
    array = np.empty(len(items), dtype=object)
    array[:] = items
    return array


class MemoryTable:
    times = 1
    added = ()

    def __init__(
        self,
        columns: Mapping[str, Any],
        root: Path | None = None,
        unreadable: tuple[tuple[str, str], ...] = (),
        name: str = "memory",
    ) -> None:
        self.data = {key: column(values) for key, values in columns.items()}
        self.columns = tuple(self.data)
        self.root, self.unreadable, self.name = root, unreadable, name
        self.fingerprint, self.made = "memory", False

    def __len__(self) -> int:
        return len(next(iter(self.data.values()))) if self.data else 0

    @property
    def own(self) -> int:
        return len(self)

    def chunks(
        self, rows: Any = None, columns: Sequence[str] | None = None, size: int = 100
    ) -> Iterator[tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]]:
        numbers = np.arange(len(self)) if rows is None else np.asarray(rows)
        for start in range(0, len(numbers), size):
            some = numbers[start : start + size]
            yield some, self.take(some, columns)

    def take(self, rows: Any, columns: Sequence[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
        return {name: self.data[name][rows] for name in (self.columns if columns is None else columns)}

    def raw(self, column: str) -> tuple[MemoryTable, str]:
        return self, column

    def some(self, rows: Any) -> Any:
        return rows

    def place(self, row: int) -> str:
        return f"{self.name}, row {row}"

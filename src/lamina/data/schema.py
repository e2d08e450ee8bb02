"""What each column is (its modality) and what it is for (its role)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np

from lamina.errors import InputError, nearest

Values = np.ndarray[Any, Any]
"""Raw values of one column: a 1-D array of float64, int64, bool, datetime64 or object dtype. In an
object array an element is str, bytes, int, float, bool, list, datetime or None (missing). A series
spread over several columns is a 2-D float64 array, [row, step]."""

Chunk = Mapping[str, Values]
"""Some rows of a table: column name to values, all of one length."""

Json = Any
"""What JSON can hold."""

Role = Literal["input", "target", "label", "group", "time", "weight", "split", "audit", "ignore"]
"""A label is a known answer that nothing learns from: it is only judged by. By groups of an audit column, which nothing
learns from either, fairness is measured."""
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class Field:
    """One input or target: usually one column, for a series several.

    Attributes:
        name: the column's name, or the series' common prefix.
        modality: a file in `lamina/modalities`.
        role: what the field is for.
        columns: the columns that hold it, in order.
        reason: why it was given this modality and role, for the user to read.
        options: passed to the modality's encoder, e.g. `{"size": 64}` for an image.
    """

    name: str
    modality: str
    role: Role = "input"
    columns: tuple[str, ...] = ()
    reason: str = ""
    options: Mapping[str, Json] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.columns:
            object.__setattr__(self, "columns", (self.name,))

    def values(self, chunk: Chunk) -> Values:
        """This field's raw values in `chunk`: [row], or [row, step] for several columns."""
        if len(self.columns) == 1:
            return chunk[self.columns[0]]
        return np.stack([chunk[column] for column in self.columns], axis=1)


@dataclass(frozen=True)
class Schema:
    """Every column's modality and role, in the table's order."""

    fields: tuple[Field, ...]

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __getitem__(self, name: str) -> Field:
        for item in self.fields:
            if item.name == name:
                return item
        raise InputError(
            f"There is no field called {name!r}.",
            fix=nearest(name, (item.name for item in self.fields)),
        )

    def with_role(self, role: Role) -> tuple[Field, ...]:
        """The fields that have `role`."""
        return tuple(item for item in self.fields if item.role == role)

    @property
    def inputs(self) -> tuple[Field, ...]:
        return self.with_role("input")

    @property
    def targets(self) -> tuple[Field, ...]:
        return self.with_role("target")

    def changed(self, name: str, **changes: Any) -> Schema:
        """The same schema with one field's attributes replaced."""
        changed = replace(self[name], **changes)
        return Schema(tuple(changed if item.name == name else item for item in self.fields))

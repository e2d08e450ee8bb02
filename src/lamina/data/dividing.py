"""What rows are divided by: the part that a column says, their moment, their group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import registry
from lamina.data.column_roles import parts_of
from lamina.data.schema import Field
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_in, read_numbers

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]


def marks(table: Table, chosen: Field, among: Array) -> Array:
    """What a split column says of each row, object [row]; "" where it is missing."""
    told: list[str] = []
    for _, chunk in table.chunks(among, list(chosen.columns)):
        told.extend(part or "" for part in parts_of(chosen.name, chunk[chosen.columns[0]]))
    found = np.empty(len(told), dtype=object)
    found[:] = told
    return found


def moments_of(table: Table, chosen: Field) -> Array:
    """float64 [row]: a number, or microseconds since 1970; NaN where missing."""
    values = [chosen.values(chunk) for _, chunk in table.chunks(None, list(chosen.columns))]
    options = chosen.options
    if chosen.modality == "number":
        decimal = decimal_in(options, values)
        return np.concatenate([read_numbers(part, decimal)[0] for part in values])
    # All at once: whether 3/4/2020 is in March or in April is decided on the whole column.
    parse = registry.module("modalities", "time").parse
    moments = parse(np.concatenate(values), options.get("day_first"), options.get("unit", ""))
    return np.where(np.isnat(moments), np.nan, moments.astype("datetime64[us]").astype(np.int64).astype(np.float64))


def groups_of(table: Table, chosen: Field) -> Array:
    """int64 [row]: rows of one group have the same number; a row without a group (or the picture that it is a part of)
    is its own."""
    known: dict[str, int] = {}
    groups = np.empty(len(table), dtype=np.int64)
    for rows, chunk in table.chunks(None, list(chosen.columns)):
        texts = canonical(chosen.values(chunk))
        groups[rows] = [
            -1 - int(row) // table.times if text is None else known.setdefault(text, len(known))
            for row, text in zip(rows, texts, strict=True)
        ]
    return groups

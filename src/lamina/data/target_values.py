"""A target's values over all rows, as small arrays: for splitting and auditing, before any task is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Field, Values
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_in, read_numbers

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]
MAY_LACK = ("category", "number", "set")
"""Modalities of targets whose encodings can say that a row has none: beside other targets, it then counts for those."""


@dataclass(frozen=True)
class TargetValues:
    """One target.

    Attributes:
        field: which.
        missing: bool [row].
        codes: int64 [row], the class as an index into `labels`, -1 where missing; None for numbers.
        labels: canonical texts of the classes, in the order of first appearance.
        numbers: float64 [row], NaN where there is none; None for classes.
    """

    field: Field
    missing: Array
    codes: Array | None = None
    labels: tuple[str, ...] = ()
    numbers: Array | None = None

    def known(self, rows: Array) -> Array:
        """Those of `rows` that have one."""
        return rows[~self.missing[rows]]


def read_target(table: Table, field: Field) -> TargetValues:
    """Stream a target's column once (numbers: twice, first for the decimal sign)."""
    if field.modality == "number":
        return _numbers(table, field)
    return _codes(table, field)


def _numbers(table: Table, field: Field) -> TargetValues:
    (column,) = field.columns
    decimal = decimal_in(field.options, (chunk[column] for _, chunk in table.chunks(None, [column])))
    numbers = np.full(len(table), np.nan)
    missing = np.zeros(len(table), dtype=bool)
    for rows, chunk in table.chunks(None, [column]):
        numbers[rows], unreadable = read_numbers(chunk[column], decimal)
        # A value that cannot be read is no missing one: it is reported as an error of its row later.
        missing[rows] = np.isnan(numbers[rows])
        missing[rows[list(unreadable)]] = False
    return TargetValues(field, missing, numbers=numbers)


def _codes(table: Table, field: Field) -> TargetValues:
    known: dict[str | None, int] = {None: -1}
    read = table
    if len(field.columns) == 1:
        table, column = table.raw(field.columns[0])
        field = replace(field, columns=(column,))
    codes = np.empty(len(table), dtype=np.int64)
    for rows, chunk in table.chunks(None, list(field.columns)):
        texts = canonical(field.values(chunk))
        codes[rows] = [known.setdefault(text, len(known) - 1) for text in texts]
    labels = tuple(text for text in known if text is not None)
    codes = np.repeat(codes, len(read) // max(len(table), 1))
    return TargetValues(field, codes < 0, codes=codes, labels=labels)


def may_lack(targets: list[TargetValues]) -> list[TargetValues]:
    """Those of several targets that a row may lack: it counts for the others then."""
    return [target for target in targets if target.field.modality in MAY_LACK] if len(targets) > 1 else []


def unanswered(targets: list[TargetValues]) -> list[tuple[int, str]]:
    """(Row, reason) of the rows without an answer to learn from."""
    optional = may_lack(targets)
    if targets and len(optional) == len(targets):
        none = np.logical_and.reduce([target.missing for target in targets])
        return [(int(row), "the targets are missing") for row in np.flatnonzero(none)]
    found: dict[int, str] = {}
    for target in targets:
        if target not in optional:
            for row in np.flatnonzero(target.missing):
                found.setdefault(int(row), f"the target {target.field.name} is missing")
    return list(found.items())


def lacks(values: Values, decimal: str | None) -> Array:
    """bool [row]: where a target is missing; a number that cannot be read is not.

    Args:
        values: raw, of some rows.
        decimal: the sign of numbers; None where they are no numbers.
    """
    if decimal is not None:
        numbers, unreadable = read_numbers(values, decimal)
        missing: Array = np.isnan(numbers)
        missing[list(unreadable)] = False
        return missing
    return np.array([text is None for text in canonical(values)], dtype=bool)

"""Rows that only training learns from, beside a division of the others: what would leak from a test is left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.content import few_values
from lamina.data.dividing import groups_of, marks, moments_of
from lamina.data.schema import Json, Schema
from lamina.data.target_values import read_target, unanswered
from lamina.errors import InputError

if TYPE_CHECKING:
    from lamina.data.split import Split
    from lamina.data.tables import Table
    from lamina.plan import DataPlan

Array = np.ndarray[Any, Any]
Reasons = Iterator[tuple[Array, str]]


def with_added(table: Table, schema: Schema, data: DataPlan, found: Split, equal: Array) -> Split:
    """The parts with the table's added rows in the training part.

    Left out, with the reason, are rows without an answer, those that say themselves that they are for testing, and what
    the division itself keeps apart: rows with the same inputs as a test or validation row, of a group that these have
    for themselves, or as late as they are.

    Args:
        found: the parts of the other rows.
        equal: int64 [row] of the whole table, the same number for rows with equal inputs.

    Raises:
        InputError: none of the added rows is left.
    """
    left_out: dict[int, str] = {}
    for rows, reason in _reasons(table, schema, data, found, equal):
        for row in rows.tolist():
            left_out.setdefault(row, reason)
    rows = np.setdiff1d(np.arange(table.own, len(table)), np.fromiter(left_out, np.int64, len(left_out)))
    if not len(rows):
        row, reason = min(left_out.items())
        raise InputError(
            f"None of the {len(left_out):,} rows that only training is to learn from can be used.",
            where=f"--also, {table.place(row)}: {reason}",
            fix="Give rows with answers that are no copies of the rows that test and validate, or leave out --also.",
        )
    return replace(
        found,
        train=np.concatenate([found.train, rows]),
        dropped=(*found.dropped, *sorted(left_out.items())),
        equal=equal,
    )


def _reasons(table: Table, schema: Schema, data: DataPlan, found: Split, equal: Array) -> Reasons:
    """Added rows that training may not learn from, and why."""
    rows = np.arange(table.own, len(table))
    targets = [read_target(table, item) for item in schema.targets]
    for row, reason in unanswered(targets):
        if row >= table.own:
            yield np.array([row]), reason
    for field in schema.with_role("split"):
        told = marks(table, field, rows)
        yield rows[~np.isin(told, ("", "train"))], f"marked in {field.name} as not for training"
    held = {"test": found.test, "validation": found.validation}
    if not few_values(equal[np.concatenate([found.train, *held.values()])], schema.inputs):
        for part, some in held.items():
            yield rows[np.isin(equal[rows], equal[some])], f"the same inputs as a {part} row"
    yield from _same_groups(table, schema, data, found)
    if found.how == "time":
        chosen = schema[data.column] if data.column else schema.with_role("time")[0]
        moments = moments_of(table, chosen)
        yield rows[np.isnan(moments[rows])], f"{chosen.name} has no time"
        first = np.concatenate([moments[some] for some in held.values()]).min()
        yield rows[moments[rows] >= first], f"{chosen.name} is not before the validation rows"


def _same_groups(table: Table, schema: Schema, data: DataPlan, found: Split) -> Reasons:
    """Added rows of groups that a part has for itself."""
    by_group = found.how == "group" and data.column
    fields = (schema[data.column],) if by_group else schema.with_role("group")
    for field in fields:
        groups = groups_of(table, field)
        rows = np.arange(table.own, len(table))
        for part, some in (("test", found.test), ("validation", found.validation)):
            if not np.isin(groups[some], groups[found.train]).any():
                yield rows[np.isin(groups[rows], groups[some])], f"its {field.name} is that of {part} rows"


def told(found: Sequence[Mapping[str, Json]], what: str = "rows") -> str:
    """A sentence on what each source gives: {"source", "rows", "learned"}, that of the data first.

    >>> told([{"source": "photos", "rows": 12, "learned": 10}, {"source": "made", "rows": 2, "learned": 2}])
    '12 rows to learn from: 10 of photos, 2 of made, which only training uses'
    """
    parts = [f"{part['learned']:,} of {part['source']}" for part in found]
    whole = sum(part["learned"] for part in found)
    return f"{whole:,} {what} to learn from: {', '.join(parts)}, which only training uses"

"""More rows that only training learns from: opened, put behind the others, checked, and told of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lamina import registry
from lamina.data.column_roles import parts_of, split_reason
from lamina.data.examples import cache_folder
from lamina.data.findings import counted
from lamina.data.schema import Field, Json, Schema
from lamina.data.split import Split
from lamina.data.tables import Table, concatenate, open_table
from lamina.data.target_values import read_target
from lamina.errors import InputError, nearest
from lamina.plan import Plan
from lamina.tasks import outlined

Array = np.ndarray[Any, Any]
LOOKED_AT = 20_000
"""Rows that tell whether a column says which part rows belong to."""


def opened(sources: Sequence[Any], tasks: Iterable[str] = ()) -> list[Table]:
    """The tables of sources of more rows, read for these tasks.

    Raises:
        InputError: one is missing, damaged or has no rows.
    """
    outlines = outlined(tasks)
    return [open_table(source, cache_folder() / "tables", outlines=outlines) for source in sources]


def appended(table: Table, more: Sequence[Table], plan: Plan) -> Table:
    """The table with more rows behind its own, read as the plan says of these.

    Args:
        table: as it was read, before parts or pairs are made of its rows.
        more: each must have the columns of inputs, targets and weights.
        plan: made for the table's own rows.

    Raises:
        InputError: a column is missing, or there is a class that the table's own rows do not have.
    """
    schema = Schema(plan.schema)
    answers = list(schema.targets)
    if any(getattr(registry.module("tasks", part.name), "STRATIFIED", False) for part in plan.task.values()):
        answers += schema.with_role("label")
    needed = {column for field in (*schema.inputs, *answers, *schema.with_role("weight")) for column in field.columns}
    optional = [name for name in table.columns if name not in needed]
    for one in more:
        _check_marks(table, one)
        table = concatenate(table, one, optional, only_learned=True)
    for field in answers:
        if field.modality == "category" and set(field.columns) <= set(table.columns):
            _check_classes(table, field, more)
    return table


def _check_marks(table: Table, more: Table) -> None:
    """Raise InputError for rows that say which part they belong to, where the table's own rows say nothing of that."""
    sample = more.take(np.arange(min(len(more), LOOKED_AT)))
    for name in more.columns:
        values = sample[name]
        held_out = name not in table.columns and split_reason(name, values) and set(parts_of(name, values)) - {"train"}
        if held_out:
            raise InputError(
                f"{more.name} says itself which rows are for testing, in {name}; {table.name} has nothing like it.",
                where="--also",
                fix="Give only the rows that are for training: of a folder with train/ and test/, its train/.",
            )


def _check_classes(table: Table, field: Field, more: Sequence[Table]) -> None:
    """Raise InputError for a class that only added rows have: nothing would be tested of it."""
    found = read_target(table, field)
    assert found.codes is not None
    # Classes are numbered in the order of their first appearance.
    known = int(found.codes[: table.own].max(initial=-1)) + 1
    strange = np.flatnonzero(found.codes >= known)
    if not len(strange):
        return
    label = found.labels[int(found.codes[strange[0]])]
    several = len(np.unique(found.codes[strange]))
    source = more[int(np.searchsorted(table.added, strange[0], side="right")) - 1]
    raise InputError(
        f"{source.name} has the class {label!r} in {field.name}, which {table.name} does not have"
        + (f", and {several - 1} more such classes." if several > 1 else "."),
        where=f"--also, {table.place(int(strange[0]))}",
        fix=f"Correct it or leave these rows out; to learn a new class, test it: give {table.name} rows of it. "
        + nearest(label, found.labels[:known]),
    )


def sources(plan: Plan, table: Table, train: Array) -> list[dict[str, Json]]:
    """{"source", "rows", "learned"} of the data (without test data given apart) and of each source of more rows;
    nothing where there is none of these.

    Args:
        train: the rows of the training part.
    """
    if not table.added:
        return []
    starts, ends = (0, *table.added), (table.boundary or table.own, *table.added[1:], len(table))
    return [
        {
            "source": name,
            "rows": (last - first) // table.times,
            "learned": int(((train >= first) & (train < last)).sum()),
        }
        for name, first, last in zip((plan.data.train, *plan.data.also), starts, ends, strict=True)
    ]


def left_out(table: Table, parts: Split) -> list[str]:
    """How many added rows are in no part, with the reason, a sentence for each."""
    reasons = [reason for row, reason in parts.dropped if row >= table.own] if table.added else []
    return [
        f"left out of what only training would use: {counted(reasons.count(reason), 'row')} ({reason})"
        for reason in dict.fromkeys(reasons)
    ]


def planned(plan: Plan, table: Table, places: Sequence[str]) -> Plan:
    """The plan with the sources of more rows, which `table` has."""
    return replace(plan, data=replace(plan.data, also=tuple(places), fingerprint=table.fingerprint))

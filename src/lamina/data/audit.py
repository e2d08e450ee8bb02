"""Look for what makes a test score lie: copies, leaks, drift, odd labels. Every finding comes with a fix."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.audit_columns import idle_columns, repeated_columns, shifted_columns
from lamina.data.audit_images import near_duplicates
from lamina.data.audit_labels import class_balance, outliers, suspect_labels
from lamina.data.audit_leaks import group_leaks, leaks, time_leaks
from lamina.data.audit_rows import conflicting_labels, duplicates, missing_targets, unreadable_rows
from lamina.data.content import equal_rows
from lamina.data.findings import SEVERITIES, AuditFinding
from lamina.data.schema import Schema
from lamina.data.split import Split
from lamina.data.target_values import read_target

if TYPE_CHECKING:
    from lamina.data.examples import Examples
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

__all__ = ["AuditFinding", "audit", "suspect_labels"]

MOST_ROWS = 50_000
PARTED = ("image", "audio", "boxes", "polygons")
"""Modalities of targets that are neither classes nor numbers: each row has a value of its own."""
MOST_CELLS = 4_000_000
"""Columns are compared on a random sample of at most so many rows, and so many values in all."""


def audit(
    table: Table,
    schema: Schema,
    split: Split,
    *,
    seed: int = 0,
    examples: Examples | None = None,
    several: bool = False,
) -> tuple[AuditFinding, ...]:
    """Everything found, the gravest first; memory stays flat, and the same data and seed give the same findings.

    Rows are compared over the whole table (by hash); columns on a sample. Of the test part only the inputs are
    looked at, to compare them with the training part, and which classes occur.

    Args:
        examples: the encoded rows, where there are any: pictures are then compared as the network sees them.
        several: each row has one of several right answers to its inputs, so that equal inputs are no copies.
    """
    targets = [read_target(table, field) for field in schema.targets if field.modality not in PARTED]
    equal = equal_rows(table, schema.inputs) if split.equal is None else split.equal
    generator = np.random.default_rng([seed & 0xFFFFFFFF, 2])
    learned = np.sort(np.concatenate([split.train, split.validation]))
    columns = sum(len(field.columns) for field in schema)
    most = max(1_000, min(MOST_ROWS, MOST_CELLS // max(columns, 1)))
    seen = _some(learned, most, generator)
    held_out = _some(split.test, most // 2, generator)
    found = [
        *unreadable_rows(table.unreadable),
        *missing_targets(table, targets, split),
        *_copies(table, schema, split, equal, generator, examples, several),
        *([] if several else conflicting_labels(table, schema, targets, learned, equal)),
        *leaks(table, schema, targets, seen, generator),
        *group_leaks(table, schema, split),
        *time_leaks(table, schema, split, seen),
        *idle_columns(schema),
        *repeated_columns(table, schema, seen),
        *shifted_columns(table, schema, seen, held_out),
        *class_balance(table, targets, split),
        *outliers(table, targets, split),
    ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def _copies(
    table: Table,
    schema: Schema,
    split: Split,
    equal: Array,
    generator: np.random.Generator,
    examples: Examples | None,
    several: bool,
) -> list[AuditFinding]:
    """Rows and pictures that are there twice; of parts of pictures the pictures, for parts of one are no copies."""
    if table.times > 1:
        times, column = table.times, next(field for field in schema.inputs if field.modality == "image").columns[0]
        table, _ = table.raw(column)
        train, validation, test = (np.unique(part // times) for part in (split.train, split.validation, split.test))
        split = replace(split, train=train, validation=validation, test=test)
        equal, examples = equal[::times], None
    return [
        *duplicates(table, schema, split, equal, several=several),
        *near_duplicates(table, schema, split, equal, generator, examples),
    ]


def _some(rows: Array, most: int, generator: np.random.Generator) -> Array:
    if len(rows) <= most:
        return rows
    chosen: Array = rows[np.sort(generator.choice(len(rows), most, replace=False))]
    return chosen

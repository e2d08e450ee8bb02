"""Known answers that nothing learns from: they say which rows are ordinary, and judge what was learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.schema import Json, Schema
from lamina.data.split import Split
from lamina.data.tables import Table
from lamina.errors import InputError, nearest
from lamina.modalities._canonical import canonical

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Labels:
    """One column's values as texts.

    Attributes:
        name: the column's name.
        values: object [row] of the whole table; None where there is none.
    """

    name: str
    values: Array

    def codes(self, rows: Array) -> tuple[Array, list[str]]:
        """int64 [row] of the rows that have one (-1: none), and what each stands for."""
        kept = self.values[rows]
        names = sorted({value for value in kept if value is not None})
        numbers = {name: number for number, name in enumerate(names)}
        return np.array([numbers.get(value, -1) for value in kept], np.int64), names


def labels_of(table: Table, schema: Schema) -> Labels | None:
    """The first column of labels, if there is one that is not empty."""
    fields = schema.with_role("label")
    if not fields:
        return None
    column = fields[0].columns[0]
    parts = [canonical(chunk[column]) for _, chunk in table.chunks(np.arange(len(table)), [column])]
    values = np.concatenate([np.asarray(part, dtype=object) for part in parts])
    return Labels(fields[0].name, values) if (values != None).any() else None  # noqa: E711  (element by element)


def ordinary(labels: Labels | None, options: Mapping[str, Json]) -> str | None:
    """The label of ordinary rows, as the user says it; None where nothing was said.

    Raises:
        InputError: there are no labels, or none like it.
    """
    wanted = options.get("normal")
    if wanted is None:
        return None
    if labels is None:
        raise InputError(
            f"The ordinary rows are to be those labelled {wanted!r}, but there is no column of labels.",
            where="task.options.normal",
            fix="Name the column of labels: --target COLUMN",
        )
    text = str(canonical(np.array([wanted], dtype=object))[0])
    known = sorted({str(value) for value in labels.values if value is not None})
    if text not in known:
        raise InputError(f"No row is labelled {text!r}.", where="task.options.normal", fix=nearest(text, known))
    return text


def usual(labels: Labels, rows: Array) -> str:
    """The commonest label of some rows; of all rows where none of those has one, as when only test rows have."""
    codes, names = labels.codes(rows)
    if not names:
        codes, names = labels.codes(np.arange(len(labels.values)))
    return names[int(np.bincount(codes[codes >= 0]).argmax())]


def of_ordinary(parts: Split, labels: Labels | None, label: str | None) -> tuple[Array, Array]:
    """Training and validation rows that are ordinary; all of them where nothing says which are.

    Raises:
        InputError: too few are.
    """
    if labels is None or label is None:
        return parts.train, parts.validation
    chosen = [rows[labels.values[rows] == label] for rows in (parts.train, parts.validation)]
    if min(map(len, chosen)) < 2:
        raise InputError(
            f"Only {len(chosen[0])} training and {len(chosen[1])} validation rows are labelled {label!r}.",
            where="task.options.normal",
            fix="Give more such rows, or another label.",
        )
    return chosen[0], chosen[1]

"""Columns that say nothing, say the same as another, or differ between training and test."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import registry
from lamina.data.column_roles import CONSTANT, EMPTY, IDENTIFIER
from lamina.data.content import value_hashes
from lamina.data.findings import AuditFinding, counted, listed
from lamina.data.schema import Field, Schema, Values
from lamina.modalities._canonical import canonical
from lamina.modalities._number_text import decimal_in, read_numbers

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

SIGNIFICANT = 0.001
"""Chance, over all columns together, of finding a shift where there is none."""
NOTABLE = 0.1
"""Distance of two distributions (0 to 1) below which a shift is too small to speak of."""
SHIFTS = 3
"""So many of the largest shifts are named."""
LEVELS = 200


def idle_columns(schema: Schema) -> list[AuditFinding]:
    """Columns that are left out since they are empty, constant or identifiers."""
    left_out = schema.with_role("ignore")
    found = []
    for kind, start, what in (
        ("constant", EMPTY, "empty"),
        ("constant", CONSTANT, "the same in every row"),
        ("identifier", IDENTIFIER, "different in every row, as identifiers are"),
    ):
        names = [field.name for field in left_out if field.reason.startswith(start)]
        if names:
            verb = "is" if len(names) == 1 else "are"
            text = f"{counted(len(names), 'column')} {verb} {what}, and left out: {listed(names)}."
            fix = f"Use one all the same with --set schema.{names[0]}.role=input" if kind == "identifier" else ""
            found.append(AuditFinding(kind, "note", text, len(names), tuple(names[:20]), fix))
    return found


def repeated_columns(table: Table, schema: Schema, rows: Array) -> list[AuditFinding]:
    """Inputs that hold the same values as an earlier one, in a sample of rows."""
    known: dict[bytes, str] = {}
    pairs = []
    for field in schema.inputs:
        if len(field.columns) > 1 or field.modality in ("image", "audio", "video", "text"):
            continue
        content = value_hashes(table.take(rows, list(field.columns))[field.columns[0]]).tobytes()
        first = known.setdefault(content, field.name)
        if first != field.name:
            pairs.append((first, field.name))
    if not pairs:
        return []
    shown = ", ".join(f"`{again}` repeats `{first}`" for first, again in pairs[:5])
    return [
        AuditFinding(
            "repeated column",
            "note",
            f"{counted(len(pairs), 'column')} hold the same values as another: {shown}.",
            len(pairs),
            tuple(again for _, again in pairs[:20]),
            f"Leave them out: --set schema.{pairs[0][1]}.role=ignore",
        )
    ]


def shifted_columns(table: Table, schema: Schema, rows: Array, test: Array) -> list[AuditFinding]:
    """Inputs that are distributed otherwise in the test part; only the largest differences are named.

    Numbers and times: Kolmogorov and Smirnov's statistic; categories: chi-squared test, distance as total
    variation. P-values are multiplied by the number of columns (Bonferroni).
    """
    if len(rows) < 30 or len(test) < 30:
        return []
    compared = [field for field in schema.inputs if field.modality in ("number", "time", "category")]
    shifts = []
    for field in compared:
        train, held_out = (table.take(part, list(field.columns))[field.columns[0]] for part in (rows, test))
        distance, chance, text = _categories(train, held_out) if field.modality == "category" else _numbers(
            field, train, held_out
        )  # fmt: skip
        if distance >= NOTABLE and chance * len(compared) < SIGNIFICANT:
            shifts.append((distance, field.name, text))
    if not shifts:
        return []
    shifts.sort(key=lambda shift: (-shift[0], shift[1]))
    largest = "; ".join(f"`{name}` ({text}, distance {distance:.2f} of 1)" for distance, name, text in shifts[:SHIFTS])
    return [
        AuditFinding(
            "shift",
            "warning" if shifts[0][0] >= 3 * NOTABLE else "note",
            f"{counted(len(shifts), 'column')} {'is' if len(shifts) == 1 else 'are'} distributed otherwise in the "
            f"test rows; most of all {largest}.",
            len(shifts),
            tuple(name for _, name, _ in shifts[:20]),
            "Expect a lower test score than on data like the training rows; see whether the shift is meant.",
        )
    ]


def _numbers(field: Field, train: Values, test: Values) -> tuple[float, float, str]:
    first, second = (np.sort(part[~np.isnan(part)]) for part in _as_numbers(field, train, test))
    if not len(first) or not len(second):
        return 0.0, 1.0, ""
    both = np.concatenate([first, second])
    distance = float(
        np.abs(
            np.searchsorted(first, both, side="right") / len(first)
            - np.searchsorted(second, both, side="right") / len(second)
        ).max()
    )
    root = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    # Smirnov's limit distribution, its first term, with Stephens' correction for finite samples (1970).
    chance = min(1.0, 2 * math.exp(-2 * (distance * (root + 0.12 + 0.11 / root)) ** 2))
    return distance, chance, f"median {_shown(field, first)} before, {_shown(field, second)} in the test"


def _as_numbers(field: Field, train: Values, test: Values) -> Iterator[Array]:
    if field.modality == "time":
        # All at once: whether 3/4/2020 is in March or in April is decided on the whole column.
        parse, options = registry.module("modalities", "time").parse, field.options
        moments = parse(np.concatenate([train, test]), options.get("day_first"), options.get("unit", ""))
        numbers = np.where(np.isnat(moments), np.nan, moments.astype("datetime64[s]").astype(np.int64))
        yield from (numbers[: len(train)], numbers[len(train) :])
        return
    decimal = decimal_in(field.options, [train])
    for values in (train, test):
        yield read_numbers(values, decimal)[0]


def _shown(field: Field, numbers: Array) -> str:
    middle = numbers[len(numbers) // 2]
    if field.modality == "time":
        return str(np.datetime64(int(middle), "s").astype("datetime64[D]"))
    return f"{middle:.4g}"


def _categories(train: Values, test: Values) -> tuple[float, float, str]:
    first, second = canonical(train), canonical(test)
    names, codes = np.unique(
        np.array(["\0" if text is None else text for text in (*first, *second)], dtype=str), return_inverse=True
    )
    counts = np.stack(
        [np.bincount(part, minlength=len(names)) for part in (codes[: len(first)], codes[len(first) :])]
    ).astype(np.float64)
    if len(names) > LEVELS:
        # Rare levels differ between any two samples: the rarest are compared as one.
        order = np.argsort(-counts.sum(axis=0), kind="stable")
        counts = np.concatenate(
            [counts[:, order[: LEVELS - 1]], counts[:, order[LEVELS - 1 :]].sum(1)[:, None]], axis=1
        )
        names = np.append(names[order[: LEVELS - 1]], "the rarest")
    shares = counts / counts.sum(axis=1, keepdims=True)
    difference = shares[1] - shares[0]
    expected = counts.sum(axis=0) * counts.sum(axis=1, keepdims=True) / counts.sum()
    statistic = float(((counts - expected) ** 2 / np.maximum(expected, 1e-12)).sum())
    largest = int(np.abs(difference).argmax())
    name = "missing" if names[largest] == "\0" else repr(str(names[largest])[:30])
    text = f"{name} {shares[0, largest]:.0%} before, {shares[1, largest]:.0%} in the test"
    return float(np.abs(difference).sum() / 2), chi_squared_tail(statistic, len(names) - 1), text


def chi_squared_tail(statistic: float, freedom: int) -> float:
    """P(chi-squared with `freedom` degrees > statistic), by the cube-root normal (Wilson and Hilferty 1931)."""
    if freedom < 1:
        return 1.0
    spread = 2 / (9 * freedom)
    normal = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(normal / math.sqrt(2))

"""Rows that are equal, contradict each other, or could not be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.content import few_values, numbered
from lamina.data.findings import SHOWN, AuditFinding, counted, places
from lamina.data.schema import Schema
from lamina.data.split import Split
from lamina.data.target_values import TargetValues

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

FEW = 0.005
"""Rows on both sides below this share change no score that can be told."""
MANY = 0.01
"""Repeated rows above this share of the training part are a warning."""


def unreadable_rows(unreadable: Sequence[tuple[str, str]]) -> list[AuditFinding]:
    """What the reader could not read at all, (place, reason) each."""
    if not unreadable:
        return []
    shown = tuple(f"{place}: {reason}" for place, reason in unreadable[:SHOWN])
    what = counted(len(unreadable), "place")
    return [
        AuditFinding(
            "unreadable",
            "warning",
            f"{what} in the data could not be read and {'is' if len(unreadable) == 1 else 'are'} left out.",
            len(unreadable),
            shown,
            "Correct them or remove them from the data.",
        )
    ]


def missing_targets(table: Table, targets: list[TargetValues], split: Split) -> list[AuditFinding]:
    """Rows that are in no part because their answer is missing, and those that have some of the targets only."""
    found = []
    rows = np.array([row for row, reason in split.dropped if reason.startswith("the target")], dtype=np.int64)
    share = len(rows) / max(len(table), 1)
    if len(rows):
        found.append(
            AuditFinding(
                "missing target",
                "warning" if share > 0.05 else "note",
                f"{counted(len(rows), 'row')} ({share:.1%}) have no answer in the target and are left out.",
                len(rows),
                places(table, rows),
                "If their absence means something, write that as a value of its own.",
            )
        )
    used = np.sort(np.concatenate([split.train, split.validation, split.test]))
    lacking = {target.field.name: int(target.missing[used].sum()) for target in targets}
    if any(lacking.values()):
        some = used[np.logical_or.reduce([target.missing[used] for target in targets])]
        found.append(
            AuditFinding(
                "some targets only",
                "note",
                f"{counted(len(some), 'row')} have some of the targets only and count for those that they have "
                f"(missing: {', '.join(f'`{name}` in {number:,}' for name, number in lacking.items() if number)}).",
                len(some),
                places(table, some),
                "If their absence means something, write that as a value of its own.",
            )
        )
    return found


def duplicates(
    table: Table, schema: Schema, split: Split, equal: Array, *, several: bool = False
) -> list[AuditFinding]:
    """Rows with equal inputs in two parts, and within the training part.

    Args:
        several: within a part they have each an answer of their own, as they should.
    """
    common = few_values(equal[np.concatenate([split.train, split.validation, split.test])], schema.inputs)
    found = []
    learned = np.concatenate([split.train, split.validation])
    for name, part, others in (("test", split.test, learned), ("validation", split.validation, split.train)):
        copies = part[np.isin(equal[part], equal[others])]
        if not len(copies):
            continue
        share = len(copies) / len(part)
        severity = "warning" if share >= FEW and not common else "note"
        if common:
            fix = "The inputs take few different values, so equal rows are no copies: nothing to do."
        elif split.how == "given":
            fix = "If they are copies, remove them from one side: they make the score too good."
        else:
            fix = "If they are copies, remove them, or divide at random: copies then stay on one side."
        learned_from = "training or validation rows" if name == "test" else "training rows"
        text = f"{counted(len(copies), f'{name} row')} ({share:.1%}) have the same inputs as {learned_from}."
        found.append(AuditFinding("duplicates", severity, text, len(copies), places(table, copies), fix))
    _, first = np.unique(equal[split.train], return_index=True)
    repeated = np.delete(split.train, first)
    if len(repeated) and not several:
        share = len(repeated) / len(split.train)
        found.append(
            AuditFinding(
                "duplicates",
                "warning" if share > MANY and not common else "note",
                f"{counted(len(repeated), 'training row')} ({share:.1%}) repeat the inputs of others.",
                len(repeated),
                places(table, repeated),
                "They count twice or more in training: remove copies that are there by mistake.",
            )
        )
    return found


def repeated_texts(copies: int, tested: int, what: str, rows: tuple[str, ...] = ()) -> list[AuditFinding]:
    """Test texts that are learned from as well.

    Args:
        copies, tested: how many of how many.
        what: they are, in the plural.
        rows: their places.
    """
    if not copies:
        return []
    share = copies / tested
    text = f"{copies:,} of {tested:,} test {what} ({share:.1%}) are training or validation {what} too, word for word."
    fix = "Remove the copies from one side: they make the score too good."
    return [AuditFinding("duplicates", "warning" if share >= FEW else "note", text, copies, rows, fix)]


def conflicting_labels(
    table: Table, schema: Schema, targets: list[TargetValues], rows: Array, equal: Array
) -> list[AuditFinding]:
    """Rows with equal inputs and different classes: no model can be right on all of them."""
    found = []
    common = few_values(equal[rows], schema.inputs)
    for target in targets:
        if target.codes is None:
            continue
        told = target.known(rows)
        codes, groups = target.codes[told], numbered(equal[told])
        pairs, counts = np.unique(groups * len(target.labels) + codes, return_counts=True)
        pair_groups = pairs // len(target.labels)
        conflicting = np.flatnonzero(np.bincount(pair_groups) > 1)
        bad = told[np.isin(groups, conflicting)]
        if not len(bad):
            continue
        best = np.zeros(int(groups.max()) + 1, dtype=np.int64)
        np.maximum.at(best, pair_groups, counts)
        found.append(
            AuditFinding(
                "conflicting labels",
                "note" if common or len(bad) < 0.001 * len(told) else "warning",
                f"{counted(len(bad), 'row')} have the same inputs as others but another `{target.field.name}`: "
                f"at most {best.sum() / len(told):.2%} of the training rows can be answered right.",
                len(bad),
                places(table, _side_by_side(bad, equal)),
                "Correct the labels, or add a column that tells these rows apart.",
            )
        )
    return found


def _side_by_side(rows: Array, equal: Array) -> Array:
    """Rows that contradict each other next to each other."""
    ordered: Array = rows[np.argsort(equal[rows], kind="stable")]
    return ordered

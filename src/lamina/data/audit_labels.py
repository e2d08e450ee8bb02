"""Classes that are rare or uneven, targets far from all others, and labels that look wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.draw import RARE
from lamina.data.findings import AuditFinding, counted, listed, places
from lamina.data.split import Split
from lamina.data.target_values import TargetValues

if TYPE_CHECKING:
    from lamina.data.tables import Table

Array = np.ndarray[Any, Any]

UNEVEN = 10.0
"""The commonest class has so many times the rows of the rarest."""
FAR = 10.0
"""A target so many interquartile ranges beyond the quartiles is far from all others."""


def class_balance(table: Table, targets: list[TargetValues], split: Split) -> list[AuditFinding]:
    """Classes with very few training rows, with none at all, and uneven classes."""
    found = []
    for target in targets:
        if target.codes is None or target.field.modality in ("set", "text"):
            continue
        name, labels = target.field.name, target.labels
        train = target.known(split.train)
        counts = np.bincount(target.codes[train], minlength=len(labels))
        rare = np.flatnonzero((counts > 0) & (counts < RARE))
        if len(rare):
            rows = train[np.isin(target.codes[train], rare)]
            found.append(
                AuditFinding(
                    "rare class",
                    "warning",
                    f"{len(rare):,} {'class' if len(rare) == 1 else 'classes'} of `{name}` with fewer than {RARE} "
                    f"training rows: {listed(labels[code] for code in rare)}.",
                    len(rare),
                    places(table, rows),
                    "Collect more of them, or merge them into one class: nobody can learn them from so few.",
                )
            )
        found.extend(_unknown(table, target, counts, split))
        present = counts[counts >= RARE]
        if len(present) >= 2 and present.max() >= UNEVEN * present.min():
            most, least = int(counts.argmax()), int(np.flatnonzero(counts == present.min())[0])
            found.append(
                AuditFinding(
                    "imbalance",
                    "note",
                    f"Classes of `{name}` are uneven: `{labels[most]}` has {counts[most]:,} training rows, "
                    f"`{labels[least]}` {counts[least]:,}; always answering `{labels[most]}` is right in "
                    f"{counts[most] / counts.sum():.1%}.",
                    int(counts[least]),
                    (),
                    "Judge by AUC or F1, not by accuracy; --set training.balance=weights attends to rare classes.",
                )
            )
    return found


def _unknown(table: Table, target: TargetValues, counts: Array, split: Split) -> list[AuditFinding]:
    assert target.codes is not None
    others = target.known(np.concatenate([split.validation, split.test]))
    rows = others[counts[target.codes[others]] == 0]
    if not len(rows):
        return []
    names = [target.labels[code] for code in np.unique(target.codes[rows])]
    return [
        AuditFinding(
            "unknown class",
            "warning",
            f"{counted(len(rows), 'validation or test row')} have a `{target.field.name}` that no training row has: "
            f"{listed(names)}.",
            len(rows),
            places(table, rows),
            "Divide the rows in another way, or leave these classes out: they cannot be answered right.",
        )
    ]


def outliers(table: Table, targets: list[TargetValues], split: Split) -> list[AuditFinding]:
    """Training targets far beyond the quartiles (Tukey's fences, widened)."""
    found = []
    for target in targets:
        if target.numbers is None:
            continue
        numbers = target.numbers[split.train]
        known = split.train[~np.isnan(numbers)]
        numbers = target.numbers[known]
        if len(numbers) < 20:
            continue
        low, high = np.quantile(numbers, [0.25, 0.75])
        reach = FAR * (high - low)
        far = np.flatnonzero((numbers < low - reach) | (numbers > high + reach))
        if reach > 0 and len(far):
            worst = known[far[np.argsort(-np.abs(numbers[far] - np.median(numbers)), kind="stable")]]
            found.append(
                AuditFinding(
                    "outlier",
                    "note" if len(far) < 0.01 * len(numbers) else "warning",
                    f"{counted(len(far), 'training row')} have a `{target.field.name}` far from all others, such as "
                    f"{target.numbers[worst[0]]:g} (half of them lie between {low:g} and {high:g}).",
                    len(far),
                    places(table, worst),
                    "Correct mistakes of measurement; if they are real, predict the logarithm or use a robust loss.",
                )
            )
    return found


def suspect_labels(probabilities: Array, labels: Array) -> Array:
    """Rows whose label is probably wrong, the most suspicious first, int64.

    Confident learning (Northcutt, Jiang, Chuang 2021): a class counts for a row if its probability reaches the mean
    that this class has on the rows labelled with it. A row of which the surest such class is another than its label is
    suspect; suspicion is that class's probability minus the label's.

    Args:
        probabilities: float [row, class], out of sample (validation or cross-validation), no training row.
        labels: int [row]; rows with a label below 0 are passed over.
    """
    if not len(labels):
        return np.empty(0, dtype=np.int64)
    probabilities = np.asarray(probabilities, dtype=np.float64)
    classes = probabilities.shape[1]
    known = labels >= 0
    own = np.where(known, probabilities[np.arange(len(labels)), np.maximum(labels, 0)], 0.0)
    counts = np.bincount(labels[known], minlength=classes)
    sums = np.bincount(labels[known], weights=own[known], minlength=classes)
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    surest = confident.argmax(axis=1)
    suspect = known & (confident.max(axis=1) >= 0) & (surest != labels)
    suspicion = probabilities[np.arange(len(labels)), surest] - own
    rows = np.flatnonzero(suspect & (suspicion > 0))
    ordered: Array = rows[np.argsort(-suspicion[rows], kind="stable")].astype(np.int64)
    return ordered

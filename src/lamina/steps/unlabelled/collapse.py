"""Has what was learned without answers collapsed? How far vectors lie apart, and in how many directions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lamina.data.findings import AuditFinding

Array = np.ndarray[Any, Any]

LEAST = (0.1, 2.0)
"""Of vectors of length 1 the spread below which they say next to nothing (directions drawn at random have about 1), and
the effective rank below which they lie nearly on a line."""
NARROW = 4
"""Numbers of a vector from which on few directions are a fault, and not all that there are."""
MOST_ROWS = 2000
"""Whose directions are counted."""

WORDS = "training has collapsed"
FIX = (
    "Try another method (--set method.name=...), a lower rate (--set optimizer.learning_rate=...), or larger batches "
    "(--set training.batch_size=...)."
)


def spread_of(vectors: Array) -> float:
    """How much of their space vectors [row, size] of length 1 fill, from 0 (all the same: collapsed) to about 1."""
    return float(vectors.std(axis=0).mean() * math.sqrt(vectors.shape[1]))


def effective_rank(vectors: Array) -> float:
    """In how many directions vectors [row, size] differ, from 1 (they lie on a line) to their size; 0 if all are equal.

    The exponential of the entropy of the singular values' shares (Roy & Vetterli 2007, "The effective rank: a measure
    of effective dimensionality"), of the vectors less their mean. Where spread is large and this is not, training has
    collapsed to few dimensions (Jing et al. 2022, "Understanding dimensional collapse in contrastive self-supervised
    learning").
    """
    some = np.asarray(vectors[:: max(1, -(-len(vectors) // MOST_ROWS))], np.float64)
    values = np.linalg.svd(some - some.mean(axis=0), compute_uv=False) if len(some) else np.zeros(1)
    if not values.sum() > 1e-9 * max(float(np.abs(some).max(initial=0.0)), 1e-30):
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def fallen(spread: float, rank: float, size: int, least: tuple[float, float] = LEAST) -> str:
    """A sentence where training has collapsed, else "".

    Args:
        rank: effective directions of the vectors.
        size: numbers of a vector.
        least: spread and rank below which it is so.
    """
    if spread < least[0]:
        return f"The vectors hardly differ: {WORDS}."
    if size >= NARROW and rank < least[1]:
        return f"Of their {size} directions the vectors use one: {WORDS}, unless the rows differ in one thing only."
    return ""


def findings(sentence: str) -> tuple[AuditFinding, ...]:
    """What the report says first of a collapse that a sentence tells of."""
    return (AuditFinding("collapse", "warning", sentence, fix=FIX),) if sentence else ()

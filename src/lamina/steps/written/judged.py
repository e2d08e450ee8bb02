"""Which of the texts that answer what is read are scored and searched for, by the time there is."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SMOOTHING = 0.1
"""Of labels (Vaswani et al. 2017)."""
VALIDATED = 1_000
"""Validation rows that are scored, at most."""
JUDGED, JUDGED_SECONDS, FEWEST_JUDGED = 1_000, 600.0, 100
"""Test rows whose texts are written at most, fewer where the budget has fewer seconds."""
SEARCH = 12.0
"""How many times as long as scoring a given text it takes to search for one, about."""


def share_of(budget: float) -> float:
    """How much of what there usually is time for a budget affords; all of it without one."""
    return min(budget / JUDGED_SECONDS, 1.0) if budget else 1.0


def validated(rows: Array) -> Array:
    """Some validation rows, evenly spread."""
    return spread(rows, VALIDATED)


def judged(rows: Array, budget: float) -> Array:
    """Some test rows, evenly spread."""
    return spread(rows, max(FEWEST_JUDGED, round(JUDGED * share_of(budget))))


def searching(judged_rows: Array, validation: Array) -> float:
    """What searching for the texts of the one takes, in multiples of scoring the other."""
    return SEARCH * len(judged_rows) / max(len(validation), 1)


def spread(rows: Array, most: int) -> Array:
    """At most so many of the rows, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64))]

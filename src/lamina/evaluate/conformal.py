"""Do conformal sets and intervals cover what they promise? Measured on the test rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.evaluate.intervals import wilson
from lamina.evaluate.results import Interval
from lamina.tasks import classify, regress

Array = np.ndarray[Any, Any]


def set_coverage(task: classify.Task, output: Array, target: Array) -> dict[str, Json]:
    """How often the set of classes holds the true one, and how many classes it has on average."""
    member = task.set_members(output)
    covered = member[np.arange(len(target)), target]
    return {
        "wanted": classify.COVERAGE,
        "measured": share(covered),
        "mean_size": float(member.sum(axis=1).mean()) if len(member) else 0.0,
    }


def interval_coverage(task: regress.Task, output: Array, target: Array) -> dict[str, Json]:
    """How often the 90% interval holds the true number, and how wide it is on average."""
    low, high = task.intervals(output)
    return {
        "wanted": regress.COVERAGE,
        "measured": share(_inside(task, target, low, high)),
        "mean_size": float((high - low).mean()) if len(low) else 0.0,
    }


def level_points(task: regress.Task, output: Array, target: Array) -> list[dict[str, float]]:
    """Measured coverage at every level that the task knows."""
    return [
        {"level": level, "coverage": float(_inside(task, target, *task.intervals(output, level)).mean())}
        for level in regress.LEVELS
    ]


def share(covered: Array) -> dict[str, Json]:
    """A share of rows with Wilson's interval, as a dict."""
    value = float(covered.mean()) if len(covered) else 0.0
    return asdict(Interval(value, *wilson(value, len(covered))))


def _inside(task: regress.Task, target: Array, low: Array, high: Array) -> Array:
    truth = task.original(target)
    # The target was stored in single precision: a value on the edge of a clipped interval is inside.
    slack = 1e-5 * np.maximum(np.abs(truth), abs(task.spread) * 1e-3)
    return np.asarray((truth >= low - slack) & (truth <= high + slack))

"""Do probabilities mean what they say? Reliability bins and the expected calibration error (Naeini et al. 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.tasks import classify, tag

Array = np.ndarray[Any, Any]


def reliability(confidence: Array, right: Array, bins: int = 15) -> list[dict[str, float]]:
    """Mean confidence and share of right answers in equally wide bins of confidence; empty bins are left out.

    Args:
        confidence: [row] probability of the answer given.
        right: [row] whether it was right.
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    said, true = np.bincount(place, confidence, bins), np.bincount(place, np.asarray(right, dtype=np.float64), bins)
    return [
        {
            "low": float(edges[index]),
            "high": float(edges[index + 1]),
            "confidence": float(said[index] / count[index]),
            "accuracy": float(true[index] / count[index]),
            "count": int(count[index]),
        }
        for index in np.flatnonzero(count)
    ]


def calibration_error(bins: list[dict[str, float]]) -> float:
    """Mean distance between confidence and share of right answers, weighted by rows."""
    rows = sum(item["count"] for item in bins)
    return sum(item["count"] * abs(item["confidence"] - item["accuracy"]) for item in bins) / rows if rows else 0.0


def class_calibration(task: classify.Task, output: Array, target: Array) -> dict[str, Json]:
    """Reliability of the answers after temperature scaling, and the error before and after it."""

    def measure(fitted: classify.Task) -> list[dict[str, float]]:
        answer, rows = fitted.answers(output), np.arange(len(target))
        return reliability(fitted.probabilities(output)[rows, answer], answer == target)

    bins = measure(task)
    before = calibration_error(measure(task.uncalibrated()))
    return {"bins": bins, "before": before, "after": calibration_error(bins), "temperature": task.scale}


def label_calibration(task: tag.Task, output: Array, target: Array) -> dict[str, Json]:
    """The same for sets of labels: every (row, label) is a yes-or-no answer."""

    def measure(fitted: tag.Task) -> list[dict[str, float]]:
        probability = fitted.probabilities(output).ravel()
        return reliability(probability, np.asarray(target).ravel() > 0.5)

    bins = measure(task)
    before = calibration_error(measure(task.uncalibrated()))
    return {"bins": bins, "before": before, "after": calibration_error(bins), "temperature": task.scale}

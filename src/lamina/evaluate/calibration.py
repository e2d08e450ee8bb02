"""Do probabilities mean what they say? Reliability bins and the expected calibration error (Naeini et al. 2015)."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.tasks import classify, tag

Array = np.ndarray[Any, Any]

SAMPLES = 1000
"""Samples drawn to see what error chance alone brings."""


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


def chance_error(bins: list[dict[str, float]], seed: int = 0) -> float:
    """The error that 95 of 100 samples as large stay below where every stated probability is exactly right.

    It is never 0: in a bin of few rows the share of right answers differs from the probability by chance, and the
    error counts every difference (Bröcker & Smith 2007, "Increasing the reliability of reliability diagrams").
    """
    count = np.array([item["count"] for item in bins], dtype=np.int64)
    stated = np.array([item["confidence"] for item in bins]).clip(0, 1)
    if not count.sum():
        return 0.0
    right = np.random.default_rng(seed).binomial(count, stated, (SAMPLES, len(bins)))
    return float(np.quantile(np.abs(right - count * stated).sum(axis=1) / count.sum(), 0.95))


def class_calibration(task: classify.Task, output: Array, target: Array) -> dict[str, Json]:
    """Reliability of the answers after temperature scaling, and the error before and after it."""

    def measure(fitted: classify.Task) -> list[dict[str, float]]:
        answer, rows = fitted.answers(output), np.arange(len(target))
        return reliability(fitted.probabilities(output)[rows, answer], answer == target)

    return _found(measure(task), measure(task.uncalibrated()), task.scale)


def label_calibration(task: tag.Task, output: Array, target: Array) -> dict[str, Json]:
    """The same for sets of labels: every (row, label) is a yes-or-no answer."""

    def measure(fitted: tag.Task) -> list[dict[str, float]]:
        probability = fitted.probabilities(output).ravel()
        return reliability(probability, np.asarray(target).ravel() > 0.5)

    return _found(measure(task), measure(task.uncalibrated()), task.scale)


def _found(bins: list[dict[str, float]], before: list[dict[str, float]], scale: float) -> dict[str, Json]:
    return {
        "bins": bins, "before": calibration_error(before), "after": calibration_error(bins),
        "chance": chance_error(bins), "temperature": scale,
    }  # fmt: skip

"""No boxes at all: right where a picture holds nothing."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines.usual_boxes import NOTHING, Usual, suits
from lamina.tasks import Task, detect

Array = np.ndarray[Any, Any]

TITLE = "no boxes"
__all__ = ["TITLE", "fit", "suits"]


def fit(
    train: BaselineFeatures,
    target: Array,
    task: Task,
    *,
    validation: tuple[BaselineFeatures, Array],
    seed: int,
    seconds: float,
    threads: int = 1,
    clock: Clock = time.monotonic,
) -> Baseline:
    """Nothing is learned."""
    assert isinstance(task, detect.Task)
    values = np.zeros((len(task.places), len(task.labels) + detect.BESIDES), dtype=np.float32)
    values[:, : len(task.labels)] = NOTHING
    return Usual(values.reshape(-1))

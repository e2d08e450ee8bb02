"""Every pixel the commonest class: what cannot beat that has found nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines import _maps as maps
from lamina.tasks import Task, segment

Array = np.ndarray[Any, Any]

TITLE = "the commonest class everywhere"


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Always, where classes of pixels are asked for."""
    return task == "segment"


@dataclass(frozen=True)
class Constant:
    """The same shares at every pixel."""

    task: segment.Task
    shares: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]."""
        found = maps.blank(self.task, features.rows)
        one = maps.logged(np.broadcast_to(self.shares[None, :, None, None], (1, *self.task.layout.shape)))
        for start in range(0, features.rows, maps.AT_ONCE):
            found[start : start + maps.AT_ONCE] = one
        return found


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
    """The shares of the classes among the training pixels."""
    asked = cast(segment.Task, task)
    classes = asked.layout.shape[0]
    counts = np.zeros(classes, np.int64)
    for start in range(0, len(target), maps.AT_ONCE):
        codes = asked.classes(np.asarray(target[start : start + maps.AT_ONCE]))
        counts += np.bincount(codes[codes < classes].ravel(), minlength=classes)
    return Constant(asked, counts / max(counts.sum(), 1))

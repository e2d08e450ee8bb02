"""Always the same answer: the frequencies of classes or labels, the mean number, or the most frequent text."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._outputs import class_output, label_output, number_output, text_output
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

TITLE = "always the same answer"


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Always: whatever cannot beat it has learned nothing."""
    return task in ("classify", "tag", "regress", "transcribe")


@dataclass(frozen=True)
class Constant:
    """One output row for every row."""

    row: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width], all rows equal."""
        return np.repeat(self.row, features.rows, axis=0)


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
    """The training part's frequencies, mean or most frequent text."""
    if task.task == "classify":
        share = np.bincount(target, minlength=task.width) / len(target)
        return Constant(class_output(share[None], np.arange(task.width), task.width))
    if task.task == "tag":
        return Constant(label_output(target.mean(axis=0)[None]))
    if task.task == "transcribe":
        texts, counts = np.unique(target, axis=0, return_counts=True)
        return Constant(text_output(texts[[counts.argmax()]], task.width))
    mean = float(np.mean(target, dtype=np.float64))
    return Constant(number_output(np.array([mean]), target - mean))

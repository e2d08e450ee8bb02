"""Logistic or ridge regression on standardised numbers, one-hot categories, TF-IDF and simple media features."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._matrix import Matrix, for_linear
from lamina.baselines._outputs import affordable, class_output, joined, label_output, number_output
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

TITLE = "a linear model"
ITERATIONS = 200
STRENGTHS = ((1.0, 10.0, 100.0), (0.1,))
"""Inverse strengths of regularisation. There is one best: a row is followed while that makes the model better, and the
second one only where the first began with its best."""
TEXT_STRENGTHS = ((100.0, 10.0, 1.0),)
"""The same for classes of texts: each of many words says little, so little is to be held back."""
RATE = 5e8
"""Matrix entries that fitting goes through in a second, cautiously."""


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Always."""
    return task in ("classify", "tag", "regress")


@dataclass(frozen=True)
class Linear:
    """Fitted models, one for a number or a class, one a label for sets."""

    matrix: Matrix
    models: tuple[Any, ...]
    task: str
    width: int
    residual: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]."""
        return _answer(self.models, self.task, self.width, self.matrix.of(features), self.residual)


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
    """Fit with several strengths of regularisation and keep the best on the validation part."""
    begin = clock()
    matrix = for_linear(train, seconds)
    found = matrix.of(train)
    entries = (found.nnz if hasattr(found, "nnz") else found.size) / max(train.rows, 1)
    outputs = task.width if task.task != "regress" else 1
    work = entries * outputs * (ITERATIONS if task.task != "regress" else 50)
    chosen, note = affordable(train.rows, work / RATE, seconds, seed)
    found, target = found[chosen], target[chosen]
    checked, truth = matrix.of(validation[0]), validation[1]
    best: tuple[float, tuple[Any, ...], float] | None = None
    longest, late = 0.0, False
    rows = TEXT_STRENGTHS if task.task != "regress" and train.of("texts") else STRENGTHS
    for row in rows:
        if best is not None and best[2] != rows[0][0]:
            break
        for strength in row:
            late = best is not None and clock() + longest > begin + seconds
            if late:
                break
            start = clock()
            models = _fit(found, target, task, strength)
            loss = _loss(task, _answer(models, task.task, task.width, checked, np.zeros(0)), truth)
            longest = max(longest, clock() - start)
            if best is not None and loss >= best[0]:
                break
            best = loss, models, strength
    note = joined(note, "fewer strengths of regularisation tried to save time" if late else "")
    assert best is not None
    residual = truth - best[1][0].predict(checked) if task.task == "regress" and len(truth) else np.zeros(0)
    return Linear(matrix, best[1], task.task, task.width, residual, note)


def _fit(matrix: Any, target: Array, task: Task, strength: float) -> tuple[Any, ...]:
    from scipy.linalg import LinAlgWarning
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge

    def logistic(wanted: Array) -> Any:
        if len(np.unique(wanted)) < 2:
            return float(np.mean(wanted))
        return LogisticRegression(C=strength, max_iter=ITERATIONS).fit(matrix, wanted)

    with warnings.catch_warnings():
        # An unfinished optimum of a baseline is still an answer; early stopping even helps it.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", LinAlgWarning)
        if task.task == "regress":
            # On standardised features this makes the strengths comparable to the logistic ones.
            return (Ridge(alpha=1.0 / strength).fit(matrix, target),)
        if task.task == "tag":
            return tuple(logistic(target[:, label] > 0.5) for label in range(task.width))
        return (logistic(target),)


def _answer(models: tuple[Any, ...], task: str, width: int, matrix: Any, residual: Array) -> Array:
    rows = matrix.shape[0]
    if not rows:
        return np.zeros((0, width), dtype=np.float32)
    if task == "regress":
        return number_output(models[0].predict(matrix), residual)
    if task == "tag":
        each = [np.full(rows, m) if isinstance(m, float) else m.predict_proba(matrix)[:, 1] for m in models]
        return label_output(np.stack(each, axis=1))
    model = models[0]
    if isinstance(model, float):
        return class_output(np.ones((rows, 1)), np.array([int(model)]), width)
    return class_output(model.predict_proba(matrix), model.classes_, width)


def _loss(task: Task, output: Array, target: Array) -> float:
    """Mean loss on the validation part: squared error for numbers, log loss otherwise."""
    if not len(target):
        return 0.0
    if task.task == "regress":
        return float(((output[:, 0] - target) ** 2).mean())
    return float(task.uncalibrated().row_losses(output, target).mean())

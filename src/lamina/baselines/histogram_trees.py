"""Gradient-boosted trees by scikit-learn's histogram method, for tables without text."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._matrix import Matrix, for_trees
from lamina.baselines._outputs import affordable, class_output, joined, number_output
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

TITLE = "histogram gradient-boosted trees"
STEP = 20
"""Trees added between two looks at the validation part."""
LOOKS = 100
PATIENCE = 3
SOME_ROUNDS = 100
ENTRY_SECONDS = 2.5e-8
"""Seconds that one tree takes for one row and one column, cautiously."""


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Tables of numbers and categories; one target at a time."""
    return task in ("classify", "regress") and kinds <= {"numbers", "category"} and rows >= 50


@dataclass(frozen=True)
class HistogramTrees:
    """A fitted model, and how many of its rounds answer best."""

    matrix: Matrix
    model: Any
    rounds: int
    task: str
    width: int
    residual: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]."""
        if not features.rows:
            return np.zeros((0, self.width), dtype=np.float32)
        found = _staged(self.model, self.task, self.matrix.of(features), self.rounds)
        if self.task == "regress":
            return number_output(found, self.residual)
        return class_output(found, self.model.classes_, self.width)


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
    """Boost until the validation loss has not improved for 60 rounds, or the time is over."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    matrix = for_trees(train, seconds, texts=False)
    trees = task.width if task.task == "classify" and task.width > 2 else 1
    chosen, note = affordable(train.rows, matrix.columns * trees * SOME_ROUNDS * ENTRY_SECONDS, seconds, seed)
    found, wanted = matrix.of(train)[chosen], target[chosen]
    checked, truth = matrix.of(validation[0]), validation[1]
    with threadpool_limits(max(1, threads)):
        model, rounds, late = _boost(task, matrix.native, seed, (found, wanted), (checked, truth), seconds, clock)
        regress = task.task == "regress" and len(truth)
        residual = truth - _staged(model, task.task, checked, rounds) if regress else np.zeros(0)
    note = joined(note, "boosting was stopped to save time" if late else "")
    return HistogramTrees(matrix, model, rounds, task.task, task.width, residual, note)


def _boost(
    task: Task,
    native: list[int],
    seed: int,
    train: tuple[Array, Array],
    validation: tuple[Array, Array],
    seconds: float,
    clock: Clock,
) -> tuple[Any, int, bool]:
    """The model, its best number of rounds, and whether the time stopped it."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingRegressor if task.task == "regress" else HistGradientBoostingClassifier
    settings: dict[str, Any] = {"learning_rate": 0.06, "max_iter": STEP, "early_stopping": False, "warm_start": True}
    model = kind(categorical_features=native or None, random_state=seed, **settings)
    begin, best, best_rounds, worse = clock(), float("inf"), STEP, 0
    for look in range(1, LOOKS + 1):
        model.set_params(max_iter=STEP * look).fit(*train)
        if not len(validation[1]):
            if STEP * look >= SOME_ROUNDS:
                return model, STEP * look, False
            continue
        loss = _loss(task, model, validation)
        if loss < best:
            best, best_rounds, worse = loss, STEP * look, 0
        else:
            worse += 1
        if worse == PATIENCE:
            break
        if (clock() - begin) * (look + 1) / look > seconds:
            return model, best_rounds, look < LOOKS
    return model, best_rounds, False


def _loss(task: Task, model: Any, validation: tuple[Array, Array]) -> float:
    matrix, target = validation
    if task.task == "regress":
        return float(((model.predict(matrix) - target) ** 2).mean())
    output = class_output(model.predict_proba(matrix), model.classes_, task.width)
    return float(task.uncalibrated().row_losses(output, target).mean())


def _staged(model: Any, task: str, matrix: Array, rounds: int) -> Array:
    """The answers after `rounds` rounds."""
    if rounds == model.n_iter_:
        return np.asarray(model.predict(matrix) if task == "regress" else model.predict_proba(matrix))
    stages = model.staged_predict(matrix) if task == "regress" else model.staged_predict_proba(matrix)
    return np.asarray(next(islice(stages, rounds - 1, None)))

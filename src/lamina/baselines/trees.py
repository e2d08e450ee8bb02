"""Gradient-boosted trees by LightGBM (Ke et al. 2017), stopped early on the validation part."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._matrix import Matrix, for_trees
from lamina.baselines._outputs import affordable, class_output, joined, label_output, number_output
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

TITLE = "gradient-boosted trees"
ROUNDS = 2000
PATIENCE = 50
SOME_ROUNDS = 100
"""Rows are left out where so many rounds would not fit the time."""
ENTRY_SECONDS = 1.5e-8
"""Seconds that one tree takes for one row and one column, cautiously."""
MANY_COLUMNS = 200
"""Columns from which on each tree looks at a few of them: those of pictures and sounds tell much the same."""
OF_MANY = {"feature_fraction": 0.1, "learning_rate": 0.1}
PATIENCE_OF_MANY = 20


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Always, if there are enough rows for leaves."""
    return task in ("classify", "tag", "regress") and rows >= 50


@dataclass(frozen=True)
class Trees:
    """Fitted boosters, one for a number or a class, one a label for sets."""

    matrix: Matrix
    boosters: tuple[Any, ...]
    task: str
    width: int
    residual: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]."""
        if not features.rows:
            return np.zeros((0, self.width), dtype=np.float32)
        matrix = self.matrix.of(features)
        if self.task == "regress":
            return number_output(predicted(self.boosters[0], matrix), self.residual)
        if self.task == "tag":
            return label_output(np.stack([predicted(booster, matrix) for booster in self.boosters], axis=1))
        found = predicted(self.boosters[0], matrix)
        probability = np.stack([1 - found, found], axis=1) if self.width == 2 else found
        return class_output(probability, np.arange(self.width), self.width)


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
    """Boost until the validation loss has not improved for some rounds, or the time is over."""
    matrix = for_trees(train, seconds, texts=True)
    found = matrix.of(train)
    entries = found.nnz / max(train.rows, 1) if hasattr(found, "nnz") else matrix.columns
    trees = task.width if task.task == "tag" or (task.task == "classify" and task.width > 2) else 1
    of_many = OF_MANY if entries >= MANY_COLUMNS and not hasattr(found, "nnz") else {}
    # About half of a tree's time does not depend on the columns.
    work = entries * trees * SOME_ROUNDS * ENTRY_SECONDS * (0.5 if of_many else 1)
    chosen, note = affordable(train.rows, work, seconds, seed)
    found, target = found[chosen], target[chosen]
    checked, truth = matrix.of(validation[0]), validation[1]
    parts = task.width if task.task == "tag" else 1
    boosters, stopped = [], False
    for part in range(parts):
        wanted, known = (_column(target, part), _column(truth, part)) if task.task == "tag" else (target, truth)
        booster, late = boost(
            _settings(task, seed, threads, len(chosen)) | of_many,
            (found, wanted),
            (checked, known),
            matrix.native,
            seconds / parts,
            clock,
            PATIENCE_OF_MANY if of_many else PATIENCE,
        )
        boosters.append(booster)
        stopped = stopped or late
    note = joined(note, "boosting was stopped to save time" if stopped else "")
    residual = truth - predicted(boosters[0], checked) if task.task == "regress" and len(truth) else np.zeros(0)
    return Trees(matrix, tuple(boosters), task.task, task.width, residual, note)


def _settings(task: Task, seed: int, threads: int, rows: int) -> dict[str, Any]:
    """Usual good settings; more leaves where rows are many, smaller leaves where they are few."""
    settings: dict[str, Any] = {
        "learning_rate": 0.05,
        "num_leaves": 31 if rows < 50_000 else 63,
        "min_data_in_leaf": int(np.clip(rows // 200, 3, 20)),
        "feature_fraction": 0.8,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "seed": seed,
        "num_threads": max(1, threads),
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    if task.task == "regress":
        return settings | {"objective": "regression", "metric": "l2"}
    if task.task == "tag" or task.width == 2:
        return settings | {"objective": "binary", "metric": "binary_logloss"}
    return settings | {"objective": "multiclass", "num_class": task.width, "metric": "multi_logloss"}


def boost(
    settings: dict[str, Any],
    train: tuple[Any, Array],
    validation: tuple[Any, Array],
    native: list[int],
    seconds: float,
    clock: Clock,
    patience: int,
) -> tuple[Any, bool]:
    """A booster, or a constant where the target does not vary, and whether the time stopped it."""
    import lightgbm

    if len(np.unique(train[1])) < 2:
        return float(np.mean(train[1])), False
    deadline, late = clock() + seconds, False

    def on_time(environment: Any) -> None:
        nonlocal late
        if clock() > deadline:
            late = True
            raise lightgbm.callback.EarlyStopException(environment.iteration, environment.evaluation_result_list or [])

    data = lightgbm.Dataset(train[0], train[1], categorical_feature=native or "auto", free_raw_data=False)
    callbacks: list[Any] = [on_time]
    checks: list[Any] = []
    if len(validation[1]):
        checks = [lightgbm.Dataset(validation[0], validation[1], reference=data)]
        callbacks.append(lightgbm.early_stopping(patience, verbose=False))
    rounds = ROUNDS if checks else SOME_ROUNDS
    return lightgbm.train(settings, data, rounds, valid_sets=checks, callbacks=callbacks), late


def _column(labels: Array, part: int) -> Array:
    """LightGBM copies (and warns of) what does not lie in one piece."""
    return np.ascontiguousarray(labels[:, part])


def predicted(booster: Any, matrix: Any) -> Array:
    if isinstance(booster, float):
        return np.full(matrix.shape[0], booster)
    best = booster.best_iteration if booster.best_iteration > 0 else None
    return np.asarray(booster.predict(matrix, num_iteration=best))

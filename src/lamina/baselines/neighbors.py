"""The nearest training examples decide: pictures, sounds and series compared on a coarse grid."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines._outputs import affordable, class_output, label_output, number_output, text_output
from lamina.tasks import Task

Array = np.ndarray[Any, Any]

TITLE = "nearest neighbors"
COUNTS = (1, 3, 5, 10, 25)
"""How many neighbors are tried on the validation part."""
PAIRS = 2e7
"""Comparisons of one number in a second times the numbers in a row, cautiously; see `fit`."""
ASKED = 10_000
"""Rows that are likely to be asked for, for the estimate of time."""
BLOCK = 512


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Where every input is a picture, a sound or a series."""
    return (
        task in ("classify", "tag", "regress", "transcribe")
        and bool(kinds)
        and kinds <= {"image", "spectrogram", "series"}
    )


@dataclass(frozen=True)
class Neighbors:
    """The training rows themselves."""

    points: Array
    target: Array
    count: int
    task: str
    width: int
    residual: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]."""
        near = _nearest(_points(features), self.points, self.count)
        return _output(self.target[near], self.task, self.width, self.residual)


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
    """Keep the training rows, and the number of neighbors that serves the validation part best."""
    points = _points(train)
    chosen, note = affordable(train.rows, ASKED * (points.shape[1] + 50) / (100 * PAIRS), seconds, seed)
    points, target = points[chosen], target[chosen]
    truth = validation[1]
    near = _nearest(_points(validation[0]), points, min(max(COUNTS), len(points)))
    losses = {}
    for count in COUNTS if task.task != "transcribe" else COUNTS[:1]:
        if count > len(points):
            break
        output = _output(target[near[:, :count]], task.task, task.width, np.zeros(0))
        losses[count] = _loss(task, output, truth)
    best = min(losses, key=lambda count: (losses[count], count))
    located = target[near[:, :best]].mean(axis=1) if task.task == "regress" else np.zeros(0)
    residual = truth - located if task.task == "regress" else located
    return Neighbors(points, target, best, task.task, task.width, residual, note)


def _points(features: BaselineFeatures) -> Array:
    return np.concatenate([block.raw for block in features.of("media") if block.raw is not None], axis=1)


def _nearest(asked: Array, points: Array, count: int) -> Array:
    """The `count` nearest points of each row by Euclidean distance, nearest first: int64 [row, count]."""
    squares = (points**2).sum(axis=1)
    found = []
    for at in range(0, len(asked), BLOCK):
        distance = squares - 2 * (asked[at : at + BLOCK] @ points.T)
        part = np.argpartition(distance, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(distance, part, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(part, order, axis=1))
    return np.concatenate(found) if found else np.zeros((0, count), dtype=np.int64)


def _output(near: Array, task: str, width: int, residual: Array) -> Array:
    """Targets of the neighbors [row, count, ...] to outputs; classes and labels with one vote for each besides.

    Texts have no mean: the nearest one's is the answer.
    """
    if task == "transcribe":
        return text_output(near[:, 0], width)
    if task == "regress":
        return number_output(near.mean(axis=1), residual)
    count = near.shape[1]
    if task == "tag":
        return label_output((near.sum(axis=1) + 0.5) / (count + 1))
    votes = np.stack([(near == code).sum(axis=1) for code in range(width)], axis=1).astype(np.float64)
    # The nearest one breaks ties.
    votes[np.arange(len(votes)), near[:, 0]] += 0.01
    return class_output((votes + 0.5 / width) / (count + 0.51), np.arange(width), width)


def _loss(task: Task, output: Array, target: Array) -> float:
    """Share of wrong answers, or squared error: for the choice of the number of neighbors."""
    if not len(target):
        return 0.0
    if task.task == "regress":
        return float(((output[:, 0] - target) ** 2).mean())
    if task.task == "classify":
        return float((output.argmax(axis=1) != target).mean())
    return float(task.uncalibrated().row_losses(output, target).mean())

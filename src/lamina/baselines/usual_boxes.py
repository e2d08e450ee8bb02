"""The usual boxes at every picture: the commonest labels at the places where they mostly are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.tasks import Task, detect

Array = np.ndarray[Any, Any]

TITLE = "the usual boxes"
NOTHING = -20.0
"""Logit of a class that is not there."""
LEAST_SHARE = 1e-3


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Boxes: whatever cannot beat it has not looked at the pictures."""
    return task == "detect"


@dataclass(frozen=True)
class Usual:
    """One output row for every picture."""

    row: Array
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width], all rows equal."""
        return np.repeat(self.row[None], features.rows, axis=0)


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
    """At each place of the network's pyramid and for each label: the mean of the training boxes there, and how often.

    A box belongs to the level whose places are about a quarter of its side apart, and to the nearest place there.
    """
    assert isinstance(task, detect.Task)
    places, classes = task.places, len(task.labels)
    values = np.zeros((len(places), classes + detect.BESIDES), dtype=np.float32)
    values[:, :classes] = NOTHING
    boxes = target[:, 1:].reshape(-1, target.shape[2])
    boxes = boxes[(boxes[:, 0] >= 0) & (boxes[:, 5] > 0)].astype(np.float64)
    middle, sides = (boxes[:, 1:3] + boxes[:, 3:5]) / 2, boxes[:, 3:5] - boxes[:, 1:3]
    wanted = np.sqrt(np.prod(sides, axis=1)) / 4
    level = np.abs(np.log(places.strides[None] / np.maximum(wanted, 1e-3)[:, None]))
    # The level first: no place of another is nearer than any of its own.
    far = np.abs(places.centers[None] - middle[:, None]).max(axis=2) + 1e6 * (level > level.min(axis=1, keepdims=True))
    key = far.argmin(axis=1) * classes + boxes[:, 0].astype(np.int64)
    kinds, own, times = np.unique(key, return_inverse=True, return_counts=True)
    for number, kind in enumerate(kinds.tolist()):
        place, label = divmod(kind, classes)
        share = float(np.clip(times[number] / len(target), LEAST_SHARE, 1 - LEAST_SHARE))
        values[place, label] = np.log(share / (1 - share))
        mean = boxes[own == number, 1:5].mean(axis=0)
        center = places.centers[place]
        reach = np.concatenate([center - mean[:2], mean[2:] - center])
        # One place has one box: of several labels there, the commonest one's.
        if times[number] == times[kinds // classes == place].max():
            values[place, classes : classes + 4] = np.log(np.maximum(reach, 1) / places.strides[place])
    values[:, -1] = -np.log(LEAST_SHARE)
    return Usual(values.reshape(-1))

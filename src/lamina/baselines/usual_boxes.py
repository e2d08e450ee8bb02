"""The usual boxes at every picture: the commonest labels at the places where they mostly are."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.tasks import Task, detect
from lamina.tasks._boxes import grids

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
    place = _nearest(task, (boxes[:, 1:3] + boxes[:, 3:5]) / 2, boxes[:, 3:5] - boxes[:, 1:3])
    kinds, own, times = np.unique(
        place * classes + boxes[:, 0].astype(np.int64), return_inverse=True, return_counts=True
    )
    where, label = np.divmod(kinds, classes)
    share = np.clip(times / len(target), LEAST_SHARE, 1 - LEAST_SHARE)
    values[where, label] = np.log(share / (1 - share))
    # One place has one box: of several labels there, the commonest one's, which is written last.
    rising = np.argsort(times, kind="stable")
    mean = np.stack([np.bincount(own, boxes[:, edge], len(kinds)) for edge in range(1, 5)], axis=1) / times[:, None]
    center = places.centers[where]
    reach = np.maximum(np.concatenate([center - mean[:, :2], mean[:, 2:] - center], axis=1), 1)
    values[where[rising], classes : classes + 4] = np.log(reach / places.strides[where, None])[rising]
    values[:, -1] = -np.log(LEAST_SHARE)
    return Usual(values.reshape(-1))


def _nearest(task: detect.Task, middle: Array, sides: Array) -> Array:
    """int64 [box]: the place in whose cell a box's middle lies, of the level that suits its size.

    It is reckoned, not searched: all boxes against all places would fill the memory.
    """
    strides = np.unique(task.places.strides)
    maps = np.array(grids(task.frame.height, task.frame.width, strides.astype(int).tolist()))
    begins = np.cumsum(maps.prod(axis=1)) - maps.prod(axis=1)
    wanted = np.sqrt(np.prod(sides, axis=1)) / 4
    level = np.abs(np.log(strides / np.maximum(wanted, 1e-3)[:, None])).argmin(axis=1)
    cell = np.clip(middle // strides[level, None], 0, maps[level, ::-1] - 1).astype(np.int64)
    return np.asarray(begins[level] + cell[:, 1] * maps[level, 1] + cell[:, 0])

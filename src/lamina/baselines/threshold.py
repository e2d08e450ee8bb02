"""A threshold on the brightness: one for all pictures, or each picture's own by Otsu's method."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines import _maps as maps
from lamina.tasks import Task, segment

Array = np.ndarray[Any, Any]

TITLE = "a threshold on the brightness"
LEVELS = 256
SURE = 0.99
"""The share of belief in the side of the threshold that a pixel lies on."""


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Where classes of pixels are asked for, and there are pictures."""
    return task == "segment" and "image" in kinds


def otsu(histogram: Array) -> float:
    """The level that parts a histogram's values best: the largest variance between both sides (Otsu 1979)."""
    levels = np.arange(len(histogram))
    below = np.cumsum(histogram)[:-1].astype(np.float64)
    above = histogram.sum() - below
    sums = np.cumsum(histogram * levels)[:-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = below * above * (sums / below - ((histogram * levels).sum() - sums) / above) ** 2
    between = np.nan_to_num(between)
    if not between.any():
        return float(levels[-1])
    # Between two heaps of values all levels are equally good: the middle one leaves most room.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float(best.mean()) + 0.5


def histograms(levels: Array) -> Array:
    """int64 [row, level] of brightness [row, height, width]."""
    rows = len(levels)
    flat = np.clip(np.rint(levels), 0, LEVELS - 1).astype(np.int64) + LEVELS * np.arange(rows)[:, None, None]
    return np.bincount(flat.ravel(), minlength=rows * LEVELS).reshape(rows, LEVELS)


@dataclass(frozen=True)
class Threshold:
    """What is brighter than `level`, or darker, is the class `found`.

    Attributes:
        level: NaN for each picture's own.
        brighter: which side it is.
    """

    task: segment.Task
    level: float
    brighter: bool
    found: int
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]."""
        answers = maps.blank(self.task, features.rows)
        for rows, images in maps.pictures(features):
            inside = self.inside(maps.grey(images))
            shape = (len(images), *self.task.layout.shape)
            probability = np.full(shape, maps.LEAST, np.float32)
            probability[:, self.found] = np.where(inside, SURE, 1 - SURE)
            probability[:, 0] = np.where(inside, 1 - SURE, SURE)
            answers[rows] = maps.logged(probability)
        return answers

    def inside(self, levels: Array) -> Array:
        """bool [row, height, width]."""
        if np.isnan(self.level):
            own = np.array([otsu(histogram) for histogram in histograms(levels)])
            return _side(levels, own[:, None, None], self.brighter)
        return _side(levels, self.level, self.brighter)


def _side(levels: Array, threshold: Array | float, brighter: bool) -> Array:
    return np.asarray(levels > threshold if brighter else levels <= threshold)


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
    """The threshold with the best Dice on the training pixels, out of all levels and Otsu's, on either side."""
    asked = cast(segment.Task, task)
    classes = asked.layout.shape[0]
    counts = np.zeros((2, LEVELS), np.int64)
    seen = np.zeros(classes, np.int64)
    # By side: pixels inside both, inside the answer, and truly inside, with each picture's own threshold.
    own = np.zeros((2, 3), np.int64)
    for rows, images in maps.pictures(train):
        codes, levels = asked.classes(np.asarray(target[rows])), maps.grey(images)
        known, inside = codes < classes, (codes > 0) & (codes < classes)
        seen += np.bincount(codes[known], minlength=classes)
        for side, chosen in enumerate((known & ~inside, inside)):
            counts[side] += np.bincount(np.clip(np.rint(levels[chosen]), 0, 255).astype(np.int64), minlength=LEVELS)
        for side, brighter in enumerate((False, True)):
            said = Threshold(asked, np.nan, brighter, 1).inside(levels) & known
            own[side] += [int((said & inside).sum()), int(said.sum()), int(inside.sum())]
    found = 1 + int(np.argmax(seen[1:]))
    scored: list[tuple[float, float, bool]] = [
        (_dice(*own[side].tolist()), np.nan, brighter) for side, brighter in enumerate((False, True))
    ]
    total = int(counts[1].sum())
    for brighter in (False, True):
        upto: Callable[[Array], Array] = _above if brighter else np.cumsum
        hits, said = upto(counts[1]), upto(counts.sum(axis=0))
        dice = 2 * hits / np.maximum(said + total, 1)
        scored.append((float(dice.max()), float(dice.argmax()) + 0.5, brighter))
    _, level, brighter = max(scored, key=lambda item: item[0])
    how = "each picture's own, by Otsu's method" if np.isnan(level) else f"{level:g} of 255"
    note = f"{how}; what is {'brighter' if brighter else 'darker'} is {asked.labels[found]}"
    return Threshold(asked, level, brighter, found, note)


def _above(counts: Array) -> Array:
    """How many are above each level."""
    return np.asarray(counts.sum() - np.cumsum(counts))


def _dice(hits: int, said: int, true: int) -> float:
    return 2 * hits / max(said + true, 1)

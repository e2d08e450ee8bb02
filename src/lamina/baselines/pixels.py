"""Gradient-boosted trees for every pixel: its color, and means and spreads around it at three sizes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from lamina.baselines import Baseline, BaselineFeatures, Clock
from lamina.baselines import _maps as maps
from lamina.tasks import Task, segment

Array = np.ndarray[Any, Any]

TITLE = "gradient-boosted trees for each pixel"
AROUND = (3, 9, 25)
"""Sides of the squares, in pixels, over which means are taken."""
PIXELS = 100_000
"""Training pixels, drawn at random from all training pictures."""
ROUNDS = 60
TREE_SECONDS, ANSWER_SECONDS = 4e-7, 5e-8
"""Seconds of one tree for one pixel and class, cautiously: to learn it, and to answer."""
ANSWERING = 0.5
"""Share of the time that answers may take."""
COARSEST = 4
"""Pixels of a side that share an answer, at most, where there is no time for each of its own."""
LEAVES = 31


def suits(kinds: set[str], task: str, rows: int) -> bool:
    """Where classes of pixels are asked for, and there are pictures."""
    return task == "segment" and "image" in kinds


def described(images: Array) -> Array:
    """float32 [row, height, width, feature] from uint8 [row, height, width, channel]."""
    colors = images.astype(np.float32)
    brightness = maps.grey(images)[..., None]
    parts = [colors]
    for side in AROUND:
        mean = boxed(colors, side)
        spread = np.sqrt(np.maximum(boxed(brightness**2, side) - boxed(brightness, side) ** 2, 0))
        parts += [mean, spread]
    return np.concatenate(parts, axis=3)


def boxed(values: Array, side: int) -> Array:
    """The mean over a square of odd `side` around every pixel of [row, height, width, channel]; edges repeat."""
    half = side // 2
    padded = np.pad(values.astype(np.float64), ((0, 0), (half, half), (half, half), (0, 0)), mode="edge")
    sums = np.pad(padded.cumsum(axis=1).cumsum(axis=2), ((0, 0), (1, 0), (1, 0), (0, 0)))
    square = sums[:, side:, side:] - sums[:, :-side, side:] - sums[:, side:, :-side] + sums[:, :-side, :-side]
    return np.asarray(square / side**2, dtype=np.float32)


@dataclass
class Trees:
    """A fitted booster.

    Attributes:
        seconds: that answers may take.
        note: what was simplified to save time, also in what was answered so far.
    """

    task: segment.Task
    booster: Any
    seen: Array
    seconds: float
    note: str = ""

    def answer(self, features: BaselineFeatures) -> Array:
        """float32 [row, width]; where there is no time for each pixel, those of a small square share an answer."""
        answers = maps.blank(self.task, features.rows)
        classes, height, width = self.task.layout.shape
        side = self._shared(features.rows)
        for rows, images in maps.pictures(features):
            some = described(images)[:, side // 2 :: side, side // 2 :: side]
            found = self.booster.predict(some.reshape(-1, some.shape[3]))
            if found.ndim == 1:
                found = np.stack([1 - found, found], axis=1)
            probability = np.zeros((len(found), classes), np.float32)
            probability[:, self.seen] = found
            coarse = np.moveaxis(probability.reshape(*some.shape[:3], classes), 3, 1)
            answers[rows] = maps.logged(_enlarged(coarse, side, height, width))
        return answers

    def _shared(self, rows: int) -> int:
        """The side of the squares that share an answer."""
        pixels = rows * self.task.frame.height * self.task.frame.width
        needed = pixels * self.booster.num_trees() * ANSWER_SECONDS
        side = int(np.clip(np.ceil(np.sqrt(needed / max(self.seconds, 1e-3))), 1, COARSEST))
        if side > 1 and "answer" not in self.note:
            self.note += f"; squares of {side} pixels share an answer"
        return side


def _enlarged(maps_of: Array, side: int, height: int, width: int) -> Array:
    """[row, class, height, width] from every `side`th place."""
    whole = maps_of.repeat(side, axis=2).repeat(side, axis=3)
    missing = (max(0, height - whole.shape[2]), max(0, width - whole.shape[3]))
    whole = np.pad(whole, ((0, 0), (0, 0), (0, missing[0]), (0, missing[1])), mode="edge") if any(missing) else whole
    return np.asarray(whole[:, :, :height, :width])


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
    """Boost on pixels drawn at random: as many as the time affords."""
    import lightgbm

    asked = cast(segment.Task, task)
    classes = asked.layout.shape[0]
    trees = ROUNDS * (1 if classes == 2 else classes)
    most = int(np.clip((1 - ANSWERING) * seconds / (trees * TREE_SECONDS), 2_000, PIXELS))
    found, labels = _drawn(train, target, asked, most, seed)
    seen, codes = np.unique(labels, return_inverse=True)
    objective = {"objective": "binary"} if len(seen) == 2 else {"objective": "multiclass", "num_class": len(seen)}
    parameters = {
        **objective, "num_leaves": LEAVES, "learning_rate": 0.15, "seed": seed & 0x7FFFFFFF, "num_threads": threads,
        "deterministic": True, "verbose": -1,
    }  # fmt: skip
    booster = lightgbm.train(parameters, lightgbm.Dataset(found, codes), ROUNDS)
    return Trees(asked, booster, seen, ANSWERING * seconds, f"fitted on {len(found):,} pixels")


def _drawn(train: BaselineFeatures, target: Array, task: segment.Task, most: int, seed: int) -> tuple[Array, Array]:
    """Features and classes of pixels with a label, about equally many of every picture."""
    generator = np.random.default_rng(seed)
    each = -(-most // max(train.rows, 1))
    classes = task.layout.shape[0]
    features, labels = [], []
    for rows, images in maps.pictures(train):
        codes = task.classes(np.asarray(target[rows]))
        described_rows = described(images)
        for row in range(len(images)):
            known = np.flatnonzero(codes[row].ravel() < classes)
            some = generator.choice(known, min(each, len(known)), replace=False)
            features.append(described_rows[row].reshape(-1, described_rows.shape[3])[some])
            labels.append(codes[row].ravel()[some])
    return np.concatenate(features), np.concatenate(labels)

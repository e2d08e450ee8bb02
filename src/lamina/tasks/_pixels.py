"""What maps of classes are judged by, and how they are shown. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from lamina.data.examples import blocks
from lamina.data.schema import Values
from lamina.modalities._files import objects
from lamina.tasks import Mapped
from lamina.tasks._agreement import LARGEST, Agreement
from lamina.tasks._regions import judged, matched
from lamina.tasks._scores import Scorer, Weighted, together

Array = np.ndarray[Any, Any]
COLORS = np.array(
    [
        (230, 60, 60), (60, 150, 240), (70, 190, 90), (240, 170, 40), (160, 90, 220), (40, 200, 200), (240, 110, 180),
        (150, 180, 50), (120, 120, 240), (200, 130, 80),
    ],
    dtype=np.float64,
)  # fmt: skip
OF_INSTANCES = ("instance_f1", "count_error")
"""Scores that need instances told apart."""
SHOWN = 128
"""Pixels of a picture's longer side, at least, where it is shown."""


class Separating(Mapped, Protocol):
    """A task that tells instances apart."""

    def separated(self, probability: Array) -> Array: ...


def decoded(task: Mapped, output: Array) -> dict[str, Values]:
    """Every row's answers by suffix."""
    rows = [task.decode_map(task.averaged(one[None])[0]) for one in np.asarray(output)]
    known = rows or [task.decode_map(np.ones(task.layout.shape, np.float32))]
    return collected(rows, list(known[0]))


def collected(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Values]:
    """Answers row by row as columns: numbers as such, all else as objects."""
    found: dict[str, Values] = {}
    for name in names:
        values = [row[name] for row in rows]
        number = name != "" and all(isinstance(value, float) for value in values)
        found[name] = np.array(values, dtype=np.float64) if number else objects(values)
    return found


def confusion(answer: Array, truth: Array, classes: int) -> Array:
    """int64 [row, class, class]: pixels by true and answered class, of those whose true class is known."""
    rows = len(answer)
    known = truth < classes
    cell = truth.astype(np.int64) * classes + answer + np.arange(rows)[:, None, None] * classes**2
    return np.bincount(cell[known], minlength=rows * classes**2).reshape(rows, classes, classes)


def instance_counts(task: Separating, output: Array, target: Array) -> Array:
    """float64 [row, 4]: instances found, answered and true, and the error of their number, where the truth is known."""
    found = np.zeros((len(target), 4))
    for part in blocks(output):
        maps = task.averaged(np.asarray(output[part]))
        for row, probability in enumerate(maps, part.start):
            own = np.asarray(target[row])
            _, truth = np.unique(np.maximum(own, 0), return_inverse=True)
            truth = truth.reshape(own.shape) + (0 if (own <= 0).any() else 1)
            hits, answered, true = matched(judged(task.separated(probability), own >= 0), truth)
            found[row] = hits, answered, true, abs(answered - true)
    return found


def scorer(counts: Array, instances: Array | None, primary: str, only: str = "", labels: Sequence[str] = ()) -> Scorer:
    """Scores of [row, class, class] pixels, and of [row, 4] instances, by how often each row counts.

    Args:
        labels: of the classes, each of which that occurs has a score of its own where there are more than two.
    """
    classes = counts.shape[1]
    hits = np.diagonal(counts, axis1=1, axis2=2).astype(np.float64)
    either = (counts.sum(axis=1) + counts.sum(axis=2)).astype(np.float64)
    every = slice(None)

    def dice(weight: Array, codes: slice = every) -> Array:
        return _divided(2 * (weight @ hits[:, codes]), weight @ either[:, codes])

    def iou(weight: Array, codes: slice = every) -> Array:
        right = weight @ hits[:, codes]
        return _divided(right, weight @ either[:, codes] - right)

    scores: dict[str, Weighted] = {}
    if classes == 2:
        scores["dice"] = lambda weight: dice(weight, slice(1, 2))[:, 0]
        scores["iou"] = lambda weight: iou(weight, slice(1, 2))[:, 0]
    else:
        scores["mean_iou"] = lambda weight: _mean(iou(weight))
        scores["mean_dice"] = lambda weight: _mean(dice(weight))
    scores["pixel_accuracy"] = lambda weight: _divided(weight @ hits.sum(axis=1), weight @ counts.sum(axis=(1, 2)))
    if instances is not None:
        found = instances

        def f1(weight: Array) -> Array:
            hits, answered, true, _ = np.moveaxis(weight @ found, 1, 0)
            return _divided(2 * hits, answered + true)

        scores["instance_f1"] = f1
        scores["count_error"] = lambda weight: _divided(weight @ found[:, 3], weight.sum(axis=1))
    for code, label in enumerate(labels if classes > 2 else ()):
        if counts[:, code].any():
            scores[f"iou.{label}"] = lambda weight, code=code: iou(weight, slice(code, code + 1))[:, 0]  # type: ignore[misc]
    return together(scores, primary, only)


def by_row(counts: Array, primary: str) -> Array:
    """[row]: each row's own Dice of the foreground, or mean IoU of the classes that occur in it; 1 where none does."""
    found = _dice(counts)[:, 1] if primary == "dice" else _mean(_iou(counts))
    return np.where(np.isnan(found), 1.0, found)


def _dice(counts: Array) -> Array:
    """[..., class], NaN where the class neither occurs nor is answered."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _divided(2 * hits, counts.sum(-1) + counts.sum(-2))


def _iou(counts: Array) -> Array:
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    return _divided(hits, counts.sum(-1) + counts.sum(-2) - hits)


def _mean(values: Array) -> Array:
    """Over the classes, without those that are NaN."""
    there = ~np.isnan(values)
    return _divided(np.where(there, values, 0).sum(axis=-1), there.sum(axis=-1))


def _divided(numerator: Array, denominator: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator != 0, np.divide(numerator, denominator), np.nan)


def agreement(before: Array, after: Array, shape: tuple[int, ...]) -> Agreement:
    """Do two networks' maps [row, class * height * width] give every pixel the same class?

    A row with another class somewhere is a tie if all such pixels lie, within rounding, on the edge of two classes.
    """
    count, total, squares = 0, 0.0, 0.0
    for part in blocks(before):
        one = np.asarray(before[part], dtype=np.float64)
        count, total, squares = count + one.size, total + float(one.sum()), squares + float((one**2).sum())
    spread = float(np.sqrt(max(squares / max(count, 1) - (total / max(count, 1)) ** 2, 0.0))) or 1.0
    same, ties, largest, worst = np.ones(len(before), dtype=bool), 0, 0.0, 0
    for part in blocks(before):
        one, other = (np.asarray(side[part]).reshape(-1, *shape) for side in (before, after))
        difference = np.abs(one.astype(np.float64) - other).reshape(len(one), -1).max(axis=1) / spread
        if len(difference) and difference.max() > largest:
            largest, worst = float(difference.max()), part.start + int(difference.argmax())
        changed = one.argmax(axis=1) != other.argmax(axis=1)
        same[part] = ~changed.any(axis=(1, 2))
        leaders = np.partition(one, -2, axis=1)[:, -2:]
        sure = changed & (leaders[:, 1] - leaders[:, 0] > LARGEST * spread)
        ties += int((changed.any(axis=(1, 2)) & ~sure.any(axis=(1, 2))).sum())
    return Agreement(same, ties, largest, worst)


def enlarged(picture: Array) -> Array:
    """uint8 [height, width, 3], a small picture with its pixels repeated."""
    colors = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
    times = max(1, SHOWN // max(colors.shape[:2]))
    return np.repeat(np.repeat(colors, times, axis=0), times, axis=1)


def colored(picture: Array, codes: Array) -> Array:
    """The picture in grey, with a color over every pixel that shows something."""
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    color = COLORS[(codes - 1) % len(COLORS)]
    there = ((codes > 0) & (codes != 255))[:, :, None]
    return enlarged(np.where(there, 0.45 * grey + 0.55 * color, grey).astype(np.uint8))


def table(counts: Array, labels: Sequence[str]) -> tuple[str, ...]:
    """Each class with its scores over all rows."""
    total = counts.sum(axis=0)
    dice, iou = _dice(total), _iou(total)
    share = total.sum(axis=1) / max(total.sum(), 1)
    return tuple(
        f"{label}: IoU {iou[code]:.3f}, Dice {dice[code]:.3f}, {share[code]:.1%} of the pixels"
        for code, label in enumerate(labels)
        if np.isfinite(iou[code])
    )

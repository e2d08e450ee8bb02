"""Pictures for baselines that answer with a map, and the form of their answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.baselines import BaselineFeatures
from lamina.data.examples import room
from lamina.tasks import LaidOut

if TYPE_CHECKING:
    from lamina.tasks.segment import Task

Array = np.ndarray[Any, Any]
AT_ONCE = 16
"""Pictures that are computed with at a time."""
LEAST = 1e-6
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Brightness of colors (ITU-R 601)."""


def pictures(features: BaselineFeatures, start: int = 0, stop: int | None = None) -> Iterator[tuple[slice, Array]]:
    """(rows, uint8 [row, height, width, channel]) of the one field of pictures, some at a time."""
    (array,) = features.pictures.values()
    end = features.rows if stop is None else stop
    for begin in range(start, end, AT_ONCE):
        rows = slice(begin, min(begin + AT_ONCE, end))
        yield rows, array.take(np.arange(rows.start, rows.stop))


def grey(images: Array) -> Array:
    """float32 [row, height, width] from 0 to 255."""
    if images.shape[3] == 1:
        return images[..., 0].astype(np.float32)
    return np.asarray(images.astype(np.float32) @ GREY)


def blank(task: Task, rows: int) -> Array:
    """float32 [row, width] for answers."""
    assert isinstance(task, LaidOut)
    return room((rows, task.width))


def logged(probability: Array) -> Array:
    """float32 [row, class * place] from probabilities [row, class, height, width]."""
    safe = np.maximum(probability, LEAST)
    return np.asarray(np.log(safe / safe.sum(axis=1, keepdims=True)), dtype=np.float32).reshape(len(probability), -1)

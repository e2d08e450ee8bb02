"""Answers that are pictures: from a network's numbers between 0 and 1 to pixels; NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._files import objects
from lamina.tasks._agreement import Agreement, agreement

Array = np.ndarray[Any, Any]


def maps(output: Array, shape: Sequence[int]) -> Array:
    """float32 [row, channel, height, width] of outputs [row, width]; `shape` is (channel, height, width)."""
    return np.asarray(output, dtype=np.float32).reshape(-1, *shape)


def levels(values: Array) -> Array:
    """uint8 from colors between 0 and 1."""
    return np.asarray(np.clip(np.rint(values * 255), 0, 255).astype(np.uint8))


def pixels(output: Array, shape: Sequence[int]) -> Array:
    """uint8 [row, height, width, channel] from outputs [row, width]."""
    return levels(maps(output, shape)).transpose(0, 2, 3, 1)


def picture(values: Array) -> dict[str, Any]:
    """{"": uint8 [height, width(, 3)]} from colors [channel, height, width], at any size."""
    found = levels(values).transpose(1, 2, 0)
    return {"": np.ascontiguousarray(found[:, :, 0] if found.shape[2] == 1 else found)}


def decoded(output: Array, shape: Sequence[int]) -> dict[str, Values]:
    """{"": a picture for each row}."""
    return {"": objects([picture(values)[""] for values in maps(output, shape)])}


def alike(before: Array, after: Array) -> Agreement:
    """Two networks answer alike where no value of a picture differs by half a grey level."""
    difference = np.abs(np.asarray(after, dtype=np.float64) - before)
    return agreement(before, after, difference.max(axis=1, initial=0) <= 0.5 / 255)

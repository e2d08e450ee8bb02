"""New pictures from a sealed generator; NumPy and ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.errors import InputError, nearest
from lamina.tasks.generate import NOISE, Task

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

LEAST_TRUNCATION = 0.1
BATCH = 256


def task_of(model: Model) -> Task:
    """What the model makes.

    Raises:
        InputError: it makes nothing.
    """
    for task in model.tasks.values():
        if isinstance(task, Task):
            return task
    raise InputError(
        "The model makes no pictures.", where=model.where, fix="Train one: lamina train PICTURES --task generate"
    )


def noise(model: Model, count: int, seed: int = 0, truncation: float = 0.0) -> Array:
    """float32 [count, width]: what pictures are made from; the same seed gives the same.

    Args:
        truncation: no number lies farther than this from 0; what does is drawn again (Brock et al. 2019, "Large scale
            GAN training": more typical pictures, but less varied ones). 0: none.

    Raises:
        InputError: the truncation is negative, or so small that nothing is left.
    """
    if truncation and not truncation >= LEAST_TRUNCATION:
        raise InputError(
            f"The truncation is {truncation}.",
            where="--truncation",
            fix=f"Give a number of at least {LEAST_TRUNCATION}, e.g. 1.0; the smaller, the more typical the pictures.",
        )
    width = model.inputs[NOISE].encoder.feature.shape[0]
    random = np.random.default_rng([seed, width])
    found = random.standard_normal((count, width), dtype=np.float32)
    while truncation:
        far = np.abs(found) > truncation
        if not far.any():
            break
        found[far] = random.standard_normal(int(far.sum()), dtype=np.float32)
    return found


def generate(
    model: Model, count: int = 16, classes: Sequence[str] = (), seed: int = 0, truncation: float = 0.0
) -> tuple[Array, list[str | None]]:
    """New pictures, and the class of each.

    Args:
        count: how many, of all classes together.
        classes: those to make, in turn; none named: all in turn.

    Returns:
        uint8 [count, height, width, channel]; names, or None where the model knows no classes.

    Raises:
        InputError: a class that the model does not know, or it makes nothing.
    """
    task = task_of(model)
    for name in classes:
        if name not in task.classes:
            known = "" if task.classes else " It knows none: leave the class out."
            raise InputError(
                f"The model makes no {name!r}.{known}", where="--class", fix=nearest(name, list(task.classes))
            )
    wanted: Sequence[str | None] = list(classes) or list(task.classes) or [None]
    names = [wanted[row % len(wanted)] for row in range(count)]
    return made(model, noise(model, count, seed, truncation), names), names


def between(model: Model, steps: int, name: str | None = None, seeds: tuple[int, int] = (0, 1)) -> Array:
    """uint8 [steps, height, width, channel]: from the picture of one seed to that of another, along a great circle."""
    one, other = (noise(model, 1, seed) for seed in seeds)
    path = np.concatenate([slerp(one, other, share) for share in np.linspace(0, 1, steps)])
    return made(model, path, [name] * steps)


def slerp(one: Array, other: Array, share: float) -> Array:
    """Along the great circle between two noises [row, width], which keeps their length likely (Shoemake 1985).

    >>> slerp(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 0.5).round(3).tolist()
    [[0.707, 0.707]]
    """
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    angle = np.arccos(((one * other).sum(axis=1) / np.maximum(lengths, 1e-9)).clip(-1, 1))[:, None]
    sine = np.sin(angle)
    # In one line there is no circle between them, or there are many: then straight on.
    bent = sine > 1e-6
    parts = [np.where(bent, np.sin(part * angle) / np.where(bent, sine, 1.0), part) for part in (1 - share, share)]
    found: Array = parts[0] * one + parts[1] * other
    return found.astype(one.dtype)


def made(model: Model, start: Array, names: Sequence[str | None]) -> Array:
    """uint8 pictures [row, height, width, channel] from noise [row, width] and a class for each (None: any)."""
    task = task_of(model)
    values = np.empty(len(names), dtype=object)
    values[:] = list(names)
    found = []
    for begin in range(0, len(start), BATCH):
        arrays = {NOISE: start[begin : begin + BATCH]}
        if task.label:
            arrays[task.label] = model.inputs[task.label].encoder.encode(values[begin : begin + BATCH]).array
        found.append(task.pictures(model.outputs(arrays)[task.name]))
    return np.concatenate(found)

"""Pictures with boxes drawn on them, for the report."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.tasks._average_precision import Answer

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

Array = np.ndarray[Any, Any]

LEAST_SIDE = 320
"""Pixels: a smaller picture is enlarged, so that names can be read on it."""
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def drawn(pixels: Array, true: Array, given: Answer, labels: Sequence[str]) -> Array:
    """uint8 [height, width, 3]: thin white true boxes; thick colored ones with names, as they were answered.

    Args:
        pixels: uint8 [height, width, channel].
        true: [box, 4] in its pixels.
        given: in its pixels.
    """
    from PIL import Image, ImageDraw

    grey = pixels.shape[2] == 1
    picture = Image.fromarray(np.repeat(pixels, 3, axis=2) if grey else pixels)
    times = max(1, -(-LEAST_SIDE // max(picture.size)))
    picture = picture.resize((picture.width * times, picture.height * times))
    pen = ImageDraw.Draw(picture)
    for box in times * np.asarray(true, dtype=np.float64):
        _rectangle(pen, box + np.array([-1, -1, 1, 1]), BLACK, 1)
        _rectangle(pen, box, WHITE, 1)
    for box, label, score in zip(times * given.edges, given.labels.tolist(), given.scores.tolist(), strict=True):
        color = _color(label, len(labels))
        _rectangle(pen, box, color, 3)
        text = f"{labels[label]} {score:.0%}"
        at = (max(float(box[0]), 0.0), max(float(box[1]) - 12, 0.0))
        pen.rectangle(pen.textbbox(at, text), fill=color)
        pen.text(at, text, fill=BLACK)
    return np.asarray(picture, dtype=np.uint8)


def _rectangle(pen: ImageDraw, box: Array, color: tuple[int, int, int], width: int) -> None:
    left, top, right, bottom = (float(edge) for edge in box)
    pen.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), outline=color, width=width)


def _color(label: int, classes: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(label / max(classes, 1), 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)

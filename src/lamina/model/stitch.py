"""Answers that lie on a picture, at the picture's own size; large pictures are answered in overlapping parts.

A sealed network reads pictures of one size. A picture not much larger than those it learned from is brought to that
size as a whole, and the answer brought back. A larger one would lose what it shows; it is cut in windows as large as
the usual training picture, and where windows overlap their answers are averaged, each counting more towards its middle.
Where every pixel counts as it is (a task that is `unscaled`), nothing is resized: any picture but one of the window's
size is cut, and one that is smaller is widened by its border first, as in training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.schema import Chunk, Values
from lamina.modalities._files import Unreadable, objects
from lamina.modalities.image import header
from lamina.tasks import Joined, Mapped
from lamina.tasks._masks import resized
from lamina.tasks._pixels import collected

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
LARGER = 1.25
"""A picture is answered as a whole up to so many times the usual size."""
OVERLAP = 0.25
"""Share of a window's side that the next one sees as well."""
LARGEST_MAP = 1 << 30
"""Bytes of one picture's map: a larger picture gets an error in place of an answer."""


@dataclass(frozen=True)
class Window:
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, array: Array) -> Array:
        """The part of [height, width, ...]."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


def windows(height: int, width: int, usual: tuple[int, int], larger: float = LARGER) -> list[Window]:
    """Parts that cover a picture: the whole where it is at most `larger` times `usual`, or where that is (0, 0)."""
    if not all(usual) or (height <= larger * usual[0] and width <= larger * usual[1]):
        return [Window(0, 0, height, width)]
    tall, wide = min(usual[0], height), min(usual[1], width)
    return [Window(top, left, tall, wide) for top in _starts(height, tall) for left in _starts(width, wide)]


def _starts(length: int, side: int) -> list[int]:
    """Where windows begin along one axis: evenly, the first at 0, the last ending with the picture."""
    step = max(1, round(side * (1 - OVERLAP)))
    number = math.ceil((length - side) / step) + 1
    starts: list[int] = np.unique(np.linspace(0, length - side, number).round().astype(int)).tolist()
    return starts


def stitched(parts: Iterable[tuple[Window, Array]], shape: tuple[int, int, int], times: int = 1) -> Array:
    """One map [channel, height, width] from those of windows, averaged where they overlap.

    Args:
        parts: windows, and a map for each that is `times` as large in height and width.
        shape: of the map.
    """
    total, weights = np.zeros(shape, np.float32), np.zeros(shape[1:], np.float32)
    for window, values in parts:
        large = Window(*(times * side for side in (window.top, window.left, window.height, window.width)))
        weight = _ramp(large.height)[:, None] * _ramp(large.width)
        where = np.s_[large.top : large.top + large.height, large.left : large.left + large.width]
        total[:, *where] += weight * values
        weights[where] += weight
    return total / np.maximum(weights, 1e-12)


def _ramp(side: int) -> Array:
    """Rises from an edge to the middle and falls to the other; never 0."""
    place = np.arange(side)
    return np.minimum(place + 1, side - place).astype(np.float32) / ((side + 1) / 2)


def answers(
    model: Model, outputs: Mapping[str, Array], values: Chunk, errors: dict[int, str], root: Path | None
) -> dict[str, Values]:
    """Answers by column, as `Model.decode` gives them, but maps at the size of their pictures.

    Args:
        outputs: by target, [row, width], of the pictures as a whole.
        values: the raw values by column.
        errors: rows that were not encoded; what cannot be brought to its size is added.
    """
    found: dict[str, Values] = {}
    for target, task in model.tasks.items():
        if isinstance(task, Mapped):
            rows = list(_rows(model, target, task, outputs[target], values, errors, root))
            columns = collected(rows, list(task.decode(np.zeros((0, task.width), np.float32))))
        else:
            columns = task.decode(outputs[target])
        found.update({f"{target}{suffix}": part for suffix, part in columns.items()})
    return found


def _rows(
    model: Model, target: str, task: Mapped, output: Array, values: Chunk, errors: dict[int, str], root: Path | None
) -> Iterator[dict[str, Any]]:
    pictures = model.inputs[task.source].field.values(values)
    nothing = task.decode_map(np.ones(task.layout.shape, np.float32))
    for row, value in enumerate(pictures):
        if row in errors:
            yield nothing
            continue
        try:
            yield task.decode_map(_map(model, target, task, output[row], value, root))
        except Unreadable as error:
            errors[row] = f"{task.source}: {error}"
            yield nothing


def _map(model: Model, target: str, task: Mapped, output: Array, value: Any, root: Path | None) -> Array:
    """The map of one picture at its own size, or a multiple of it."""
    size = header(value, root)
    channels, times = task.layout.shape[0], task.layout.shape[1] // task.frame.height
    if 4 * channels * size.height * size.width * times**2 > LARGEST_MAP:
        raise Unreadable(f"a map of {channels} numbers for {size.width} x {size.height} pixels is too large")
    encoder: Any = model.inputs[task.source].encoder
    if task.unscaled and (size.height, size.width) != task.window:
        pixels = encoder.whole(value, root)
        found = _cut(model, target, task, pixels)
        return task.joined(found, pixels) if isinstance(task, Joined) else found
    parts = windows(size.height, size.width, task.window)
    if len(parts) == 1:
        found = _back(task, output, size.height, size.width, times)
        return task.joined(found, encoder.whole(value, root)) if isinstance(task, Joined) else found
    return _together(model, target, task, encoder.whole(value, root), parts)


def _cut(model: Model, target: str, task: Mapped, pixels: Array) -> Array:
    """The map of one picture, uint8 [height, width, channel], in windows of which none is resized."""
    height, width = pixels.shape[:2]
    missing = [max(0, usual - side) for usual, side in zip(task.window, (height, width), strict=True)]
    (above, below), (before, behind) = ((short // 2, short - short // 2) for short in missing)
    wide = np.pad(pixels, [(above, below), (before, behind), (0, 0)], mode="edge")
    parts = windows(wide.shape[0], wide.shape[1], task.window, larger=1.0)
    times = task.layout.shape[1] // task.frame.height
    found = _together(model, target, task, wide, parts)
    return found[:, times * above : times * (above + height), times * before : times * (before + width)]


def _together(model: Model, target: str, task: Mapped, pixels: Array, parts: Sequence[Window]) -> Array:
    """The map of one picture, uint8 [height, width, channel], from those of its windows."""
    channels, times = task.layout.shape[0], task.layout.shape[1] // task.frame.height
    encoder: Any = model.inputs[task.source].encoder
    together = model.fitting(32)

    def answered() -> Iterator[tuple[Window, Array]]:
        for start in range(0, len(parts), together):
            some = parts[start : start + together]
            encoded = encoder.encode(objects([window.of(pixels) for window in some]))
            found = model.outputs({task.source: encoded.array}, batch=len(some))[target]
            for window, one in zip(some, found, strict=True):
                yield window, _back(task, one, window.height, window.width, times)

    return stitched(answered(), (channels, times * pixels.shape[0], times * pixels.shape[1]), times)


def _back(task: Mapped, output: Array, height: int, width: int, times: int) -> Array:
    """What the network gave for a picture or a part of one, without padding, at the size of that."""
    place = task.frame.place(height, width)
    maps = task.averaged(output[None])[0]
    top, left, tall, wide = (times * side for side in (place.top, place.left, place.height, place.width))
    return resized(maps[:, top : top + tall, left : left + wide], times * height, times * width)

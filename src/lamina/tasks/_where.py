"""Where in a picture, sound or series something is strange: from the places of a grid to pixels, seconds and steps.

NumPy only: it is part of the sealed model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.modalities import Feature
from lamina.modalities._canonical import object_array
from lamina.modalities._files import Unreadable
from lamina.modalities._frame import Frame
from lamina.modalities._steps import steps_of

Array = np.ndarray[Any, Any]

SHARE = 0.5
"""Of the strangest place, from which on its neighbours are part of what is strange."""
LARGEST = 1 << 20
"""Pixels, frames or steps along an axis."""


def strength(part: Array) -> Array:
    """[row, *grid] to [row]: of several places the root of the mean square of what is above 0.

    A strange spot in a large picture must not vanish among places that are as ever.
    """
    if part.ndim == 1:
        return part
    return np.asarray(np.sqrt(np.square(np.maximum(part, 0.0)).mean(axis=tuple(range(1, part.ndim)))))


def joined(channels: Array) -> Array:
    """[..., channel] to [...]: as `strength`; where no channel is above 0, the highest, so that all can be ranked."""
    above = np.sqrt(np.square(np.maximum(channels, 0.0)).mean(axis=-1))
    return np.asarray(np.where(above > 0, above, channels.max(axis=-1)))


def around(part: Array) -> Array:
    """bool [row, *grid]: the strangest place and what is joined to it by places at least `SHARE` as strange.

    As in Zhou et al. 2016, "Learning deep features for discriminative localization", where the part of a heat map that
    holds its highest place gives the box.
    """
    flat = part.reshape(len(part), math.prod(part.shape[1:]))
    highest = flat.argmax(axis=1, keepdims=True)
    high = flat >= np.maximum(np.take_along_axis(flat, highest, 1), 0.0) * SHARE
    found = np.zeros(flat.shape, bool)
    np.put_along_axis(found, highest, True, 1)
    high, found = high.reshape(part.shape), found.reshape(part.shape)
    while True:
        grown = found.copy()
        for axis in range(1, part.ndim):
            before, after = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
            grown[before] |= found[after]
            grown[after] |= found[before]
        grown = (grown & high) | found
        if (grown == found).all():
            return found
        found = grown


def reach(marked: Array, size: int) -> Array:
    """int64 [row, 2]: where along an axis of `size` what is marked, bool [row, place], begins and has ended."""
    places = marked.shape[1]
    first = marked.argmax(axis=1)
    last = places - marked[:, ::-1].argmax(axis=1)
    # A step lies in the place that its own number says, rounded down: the inverse is rounded up.
    return np.stack([-(-first * size // places), -(-last * size // places)], axis=1)


@dataclass(frozen=True)
class Scale:
    """What the places of a field are places of, as it is encoded.

    Attributes:
        kind: of the field's array.
        size: pixels (height, width), frames or steps.
        resize: how pictures are brought to their size (`Frame`).
        step: seconds from one frame of a sound to the next.
        seconds, rate: of a sound, what is heard of it, and the samples a second of one that is given as samples.
    """

    kind: Literal["image", "spectrogram", "series"]
    size: tuple[int, ...]
    resize: str = "stretch"
    step: float = 0.0
    seconds: float = 0.0
    rate: int = 0

    @classmethod
    def of(cls, encoder: Any) -> Self | None:
        """The scale of a field by its encoder; None where it has one place."""
        feature: Feature = encoder.feature
        if feature.kind == "image":
            height, width, _ = feature.shape
            return cls("image", (height, width), resize=str(getattr(encoder, "resize", "stretch")))
        if feature.kind == "spectrogram":
            step = float(feature.details.get("step", 0.0))
            return cls("spectrogram", (feature.shape[0],), "stretch", step, encoder.seconds, encoder.rate)
        return cls("series", (feature.shape[0],)) if feature.kind == "series" else None

    def read(self, part: Array) -> list[dict[str, Json]]:
        """Where each row is strange, of its places [row, *grid]: in pixels, seconds or steps of what is encoded."""
        if self.kind == "series" and part.ndim == 3:
            channel = np.sqrt(np.square(np.maximum(part, 0.0)).mean(axis=1)).argmax(axis=1)
            found = self.read(np.take_along_axis(part, channel[:, None, None], 2)[:, :, 0])
            return [{"channel": int(number), **where} for number, where in zip(channel, found, strict=True)]
        marked = around(part)
        if self.kind == "image":
            down, across = (reach(np.asarray(marked.any(axis=3 - axis)), self.size[axis - 1]) for axis in (1, 2))
            return [
                _box(left, top, right, bottom)
                for (top, bottom), (left, right) in zip(down.tolist(), across.tolist(), strict=True)
            ]
        spans = reach(marked, self.size[0]).tolist()
        if self.kind == "spectrogram":
            return [_stretch(first * self.step, last * self.step) for first, last in spans]
        return [{"first": first, "last": max(last - 1, first)} for first, last in spans]

    def original(self, where: dict[str, Json], value: Any, root: Path | None) -> dict[str, Json]:
        """The same in the raw value's own pixels, seconds or steps; as it is where the value cannot be read."""
        try:
            if self.kind == "image":
                return self._in_picture(where, value, root)
            return self._in_sound(where, value, root) if self.kind == "spectrogram" else self._in_series(where, value)
        except Unreadable:
            return where

    def _in_picture(self, where: dict[str, Json], value: Any, root: Path | None) -> dict[str, Json]:
        from lamina.modalities.image import header

        found, frame = header(value, root), Frame(self.size[0], self.size[1], self.resize)
        place = frame.place(found.height, found.width)
        left, top, right, bottom = frame.box(found.height, found.width)
        across, down = (right - left) / place.width, (bottom - top) / place.height
        begin = left + (where["x"] - place.left) * across, top + (where["y"] - place.top) * down
        end = begin[0] + where["width"] * across, begin[1] + where["height"] * down
        x, y = (min(max(round(begin[axis]), 0), size - 1) for axis, size in ((0, found.width), (1, found.height)))
        return _box(x, y, min(round(end[0]), found.width), min(round(end[1]), found.height))

    def _in_sound(self, where: dict[str, Json], value: Any, root: Path | None) -> dict[str, Json]:
        from lamina.modalities.audio import header, heard_from

        length = header(value, root, self.rate).seconds
        begin = heard_from(value, self.seconds, self.rate, root) if length > self.seconds else 0.0
        return _stretch(begin + where["start"], min(begin + where["end"], length))

    def _in_series(self, where: dict[str, Json], value: Any) -> dict[str, Json]:
        steps = steps_of(value)
        if not isinstance(steps, np.ndarray) or len(steps) == self.size[0] or self.size[0] < 2:
            return where
        ratio = (len(steps) - 1) / (self.size[0] - 1)
        return {**where, "first": round(where["first"] * ratio), "last": round(where["last"] * ratio)}

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`; ValueError for what no scale can be."""
        axes = {"image": 2, "spectrogram": 1, "series": 1}
        size, kind = tuple(int(side) for side in state["size"]), state["kind"]
        if len(size) != axes.get(kind) or any(not 1 <= side <= LARGEST for side in size):
            raise ValueError("a scale of no size")
        numbers = float(state["step"]), float(state["seconds"]), int(state["rate"])
        if not np.isfinite(numbers).all() or min(numbers) < 0:
            raise ValueError("a scale of no seconds")
        return cls(kind, size, str(state["resize"]), *numbers)


def placed(scale: Scale, part: Array, values: Values | None = None, root: Path | None = None) -> Values:
    """`Scale.read`, in the pixels, seconds or steps of the raw values where they are given."""
    found = scale.read(part)
    if values is not None:
        found = [scale.original(where, value, root) for where, value in zip(found, values, strict=True)]
    return object_array(found)


def _box(left: int, top: int, right: int, bottom: int) -> dict[str, Json]:
    return {"x": left, "y": top, "width": max(right - left, 1), "height": max(bottom - top, 1)}


def _stretch(begin: float, end: float) -> dict[str, Json]:
    return {"start": round(begin, 2), "end": round(max(end, begin), 2)}

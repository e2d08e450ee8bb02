"""Frames: what an environment shows, as pictures in memory; the last few of them together, so that motion is seen.

Reduced by area averaging in whole numbers: the same pixels on every machine, and quick enough for every step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Feature, Recognition
from lamina.modalities._auto import whole
from lamina.modalities._files import is_missing, objects, present, sample, some_of, spread
from lamina.modalities._options import read_options

Array = np.ndarray[Any, Any]

SIZE, STACK = 84, 4
"""As in Mnih et al. (2015), "Human-level control through deep reinforcement learning"."""
LARGEST_SIDE, MOST_STACKED = 1024, 64
LONGEST_SIDE = 8192
"""Of a picture that is read."""
LOOKED_AT = 500
MEAN, STD = 127.5, 64.0
"""Where nothing is known of the pictures: about -2 to 2 when standardised."""
COLORS = (1, 3, 4)
"""Channels of a grey picture, a colored one, and one with transparency."""
ONE = 256
"""Weights are whole shares of this. Two averagings of 255 then stay below 2^24, and float32 is exact up to there."""


def recognise(values: Values, name: str) -> Recognition | None:
    """Stacks of pictures in memory, or nested lists of one; single arrays are for the modality image."""
    if values.ndim != 1 or values.dtype.kind != "O":
        return None
    some = some_of(values, 20)
    if not some or not all(isinstance(value, list | tuple | np.ndarray) for value in some):
        return None
    if any(isinstance(value, np.ndarray) and value.ndim < 4 for value in some):
        return None
    stacks = [_pixels(value) for value in some]
    if any(isinstance(stack, str) or stack.ndim < 3 for stack in stacks):
        return None
    return Recognition(0.5, "the values are stacks of pictures in memory")


def describe(values: Values) -> dict[str, Json]:
    """Sizes and channels of at most 500 values, evenly spaced."""
    some = some_of(values, LOOKED_AT)
    shapes, unreadable = [], 0
    for value in some:
        pixels = _pixels(value)
        if isinstance(pixels, str):
            unreadable += 1
        else:
            shapes.append(_stacked(pixels, COLORS).shape)
    return {
        "count": len(values),
        "missing": sum(is_missing(value) for value in values),
        "looked_at": len(some),
        "unreadable": unreadable,
        "pictures": spread([shape[0] for shape in shapes]),
        "height": spread([shape[1] for shape in shapes]),
        "width": spread([shape[2] for shape in shapes]),
        "channels": {str(shape): count for shape, count in Counter(shape[3] for shape in shapes).most_common()},
    }


@dataclass(frozen=True)
class Encoder:
    """Pictures to uint8 [row, height, width, channels * stack], the newest picture last.

    A value is a picture [height, width], [height, width, channel], or several [time, height, width(, channel)] of
    which the last `stack` count; where there are fewer, the first is repeated. Whole numbers from 0 to 255, as an
    array or nested lists. A value that is missing or no such picture is an error, and encoded as a plain picture of
    the mean color.

    Options: "size" (84): side in pixels or [height, width]; "gray" (true): by luminance (ITU-R BT.601), where a
    fourth channel, transparency, is left out; "stack" (4): how many pictures.
    """

    modality: ClassVar[str] = "frames"

    height: int
    width: int
    channels: int
    """Of one picture, after it was made gray."""
    stack: int
    gray: bool
    mean: tuple[float, ...]
    """Of each channel of one picture, on the scale 0 to 255."""
    std: tuple[float, ...]
    codes: int = 0
    """Where the pictures are grids of codes, how many kinds of them there are; 0 for pictures."""

    @property
    def feature(self) -> Feature:
        """`details`: each channel's mean and std on the scale 0 to 255; "codes" where each value stands for a kind."""
        details: dict[str, Json] = {"mean": list(self.mean) * self.stack, "std": list(self.std) * self.stack}
        if self.codes:
            details["codes"] = self.codes
        return Feature("image", (self.height, self.width, self.channels * self.stack), "uint8", details=details)

    @classmethod
    def fit(cls, chunks: Chunks, options: Mapping[str, Json], root: Path | None = None) -> Self:
        """Look at the colors of at most 500 training values.

        Raises:
            InputError: no picture at all, or a wrong option.
        """
        chosen = read_options("frames", options, {"size": None, "gray": True, "stack": STACK})
        height, width = _size(SIZE if chosen["size"] is None else chosen["size"])
        stack = whole("frames", "stack", chosen["stack"], 1, MOST_STACKED)
        gray = bool(chosen["gray"])
        total = present(chunks)
        channels = 1 if gray else _channels(chunks, total)
        blank = cls(height, width, channels, stack, gray, (MEAN,) * channels, (STD,) * channels)
        count, sums = 0, np.zeros((2, channels), np.int64)
        for pictures in _readable(chunks, total):
            if blank._refusal(pictures.shape[-1]):
                continue
            pixels = blank.reduced(pictures[None]).reshape(-1, channels).astype(np.int64)
            count += len(pixels)
            sums += np.stack([pixels.sum(axis=0), np.square(pixels).sum(axis=0)])
        if not count:
            raise _no_picture()
        mean = sums[0] / count
        std = np.sqrt(np.maximum(sums[1] / count - mean**2, 0))
        return cls(height, width, channels, stack, gray, tuple(mean.tolist()), tuple(np.maximum(std, 1.0).tolist()))

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """uint8 [row, height, width, channels * stack]; arrays [row, (time,) height, width(, channel)] at once."""
        if values.dtype == np.uint8 and values.ndim >= 3 and 0 not in values.shape:
            stacks = self.stacks(values)
            reason = _too_large(stacks) or self._refusal(stacks.shape[-1])
            if not reason:
                return Encoded(self._encoded(stacks))
        array = np.empty((len(values), *self.feature.shape), np.uint8)
        plain = np.rint(np.array(list(self.mean) * self.stack)).astype(np.uint8)
        errors: dict[int, str] = {}
        for row, value in enumerate(values):
            found = "there is no picture: give an array [height, width, channel]"
            pixels = found if is_missing(value) else _pixels(value)
            if not isinstance(pixels, str):
                stacks = self.stacks(pixels[None])
                pixels = self._refusal(stacks.shape[-1]) or self._encoded(stacks)[0]
            if isinstance(pixels, str):
                errors[row], array[row] = pixels, plain
            else:
                array[row] = pixels
        return Encoded(array, errors)

    def stacks(self, values: Array) -> Array:
        """[row, time, height, width, channel] of pictures or stacks of them, [row, ...]; no copy."""
        return _stacked(values, (*COLORS, self.channels), rows=1)

    def reduced(self, stacks: Array) -> Array:
        """uint8 [row, time, height, width, channel] to the encoder's size and channels; twice is as once."""
        rows, time, height, width, channels = stacks.shape
        pixels = stacks.reshape(rows * time, height, width, channels)
        if self.gray and channels >= 3:
            # At most 255 * 256 + 128: it fits in 16 bits.
            parts = [pixels[..., place] * np.uint16(weight) for place, weight in enumerate((77, 150, 29))]
            pixels = ((parts[0] + parts[1] + parts[2] + np.uint16(128)) >> 8).astype(np.uint8)[..., None]
        if pixels.shape[3] < self.channels:
            pixels = np.repeat(pixels, self.channels, axis=3)
        if (height, width) != (self.height, self.width):
            pixels = _averaged(pixels, self.height, self.width)
        return pixels.reshape(rows, time, self.height, self.width, self.channels)

    def _encoded(self, stacks: Array) -> Array:
        """uint8 [row, height, width, channels * stack] of [row, time, height, width, channel]."""
        time = stacks.shape[1]
        chosen = np.maximum(np.arange(time - self.stack, time), 0)
        pictures = self.reduced(stacks[:, chosen[0] :])[:, chosen - chosen[0]]
        return np.ascontiguousarray(np.moveaxis(pictures, 1, 3)).reshape(len(stacks), *self.feature.shape)

    def _refusal(self, channels: int) -> str:
        """Why pictures of so many channels cannot be read; "" where they can."""
        known = COLORS if self.gray else (1, self.channels)
        if channels in known:
            return ""
        wanted = " or ".join(str(number) for number in sorted(set(known)))
        return f"the picture has {channels} channels: give {wanted} (an array [height, width, channel])"

    def decode(self, array: Array) -> Values:
        """The stacks as they were encoded: uint8 arrays [stack, height, width, channel]."""
        shape = (self.height, self.width, self.stack, self.channels)
        return objects([np.moveaxis(row.reshape(shape), 2, 0) for row in np.asarray(array, np.uint8)])

    def state(self) -> dict[str, Json]:
        """All of it as JSON."""
        # Pictures are kept as they were before there were codes: what could read them still can.
        codes = {"codes": self.codes} if self.codes else {}
        plain = {name: value for name, value in vars(self).items() if name != "codes"}
        return {**plain, "mean": list(self.mean), "std": list(self.std), **codes}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        """The inverse of `state`."""
        return cls(**{**state, "mean": tuple(state["mean"]), "std": tuple(state["std"])})


def _pixels(value: object) -> Array | str:
    """uint8 of 2 to 4 axes, or what is wrong."""
    if not isinstance(value, list | tuple | np.ndarray):
        return f"a value of type {type(value).__name__} is no picture: give an array [height, width, channel]"
    try:
        pixels = np.asarray(value)
    except (ValueError, TypeError, OverflowError, RecursionError):
        return "the lists have different lengths: give as many pixels in every line"
    if not 2 <= pixels.ndim <= 4 or 0 in pixels.shape:
        return f"an array of shape {pixels.shape} is no picture: give [height, width, channel], or several of them"
    if reason := _too_large(pixels if pixels.ndim < 4 else pixels[0]):
        return reason
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "iuf":
        return "the picture holds something else than numbers: give whole numbers from 0 to 255"
    if not bool(((pixels >= 0) & (pixels <= 255) & (pixels == np.trunc(pixels))).all()):
        return "the pixels are not all whole numbers from 0 to 255: scale and round them"
    return pixels.astype(np.uint8)


def _too_large(pixels: Array) -> str:
    if max(pixels.shape[-3:]) > LONGEST_SIDE:
        return f"a side of {max(pixels.shape[-3:]):,} pixels is over the limit of {LONGEST_SIDE:,}: reduce the picture"
    return ""


def _stacked(pixels: Array, channels: tuple[int, ...], rows: int = 0) -> Array:
    """[..., time, height, width, channel] of a picture or several, after `rows` leading axes.

    With three axes the last is the channel, if it has as many as a picture can have; else the first is the time.
    """
    axes = pixels.ndim - rows
    if axes == 2:
        return np.expand_dims(pixels, (rows, pixels.ndim + 1))
    if axes == 3:
        return np.expand_dims(pixels, rows if pixels.shape[-1] in channels else pixels.ndim)
    return pixels


def _averaged(pixels: Array, height: int, width: int) -> Array:
    """uint8 [picture, height, width, channel] of another size, each pixel the mean of the area it covers."""
    count, _, _, channels = pixels.shape
    planes = np.moveaxis(pixels, 3, 1).astype(np.float32)
    sums = _shares(pixels.shape[1], height) @ planes @ _shares(pixels.shape[2], width).T
    # float32 holds these whole numbers exactly, in whatever order they were added up.
    rounded = ((sums.astype(np.uint32) + ONE * ONE // 2) // (ONE * ONE)).astype(np.uint8)
    return np.moveaxis(rounded.reshape(count, channels, height, width), 1, 3)


@lru_cache(maxsize=64)
def _shares(before: int, after: int) -> Array:
    """float32 [after, before]: the share of each old line in each new one, in whole parts of ONE."""
    edges = np.arange(before + 1)[None, :]
    starts = np.arange(after)[:, None] * before
    covered = np.clip((edges * after - starts) / before, 0, 1)
    shares: Array = np.diff(np.rint(covered * ONE), axis=1).astype(np.float32)
    shares.flags.writeable = False
    return shares


def _readable(chunks: Chunks, total: int) -> Iterator[Array]:
    """At most LOOKED_AT of the values as [time, height, width, channel]."""
    for values in sample(chunks, total, LOOKED_AT):
        for value in values:
            pixels = _pixels(value)
            if not isinstance(pixels, str):
                yield _stacked(pixels, COLORS)


def _channels(chunks: Chunks, total: int) -> int:
    counts = Counter(int(pictures.shape[-1]) for pictures in _readable(chunks, total))
    if not counts:
        raise _no_picture()
    return max(counts, key=lambda channels: (counts[channels], -channels))


def _no_picture() -> InputError:
    return InputError(
        "None of the pictures looked at can be read.",
        fix="Give arrays [height, width, channel] of whole numbers from 0 to 255, or the column the role ignore.",
    )


def _size(option: Json) -> tuple[int, int]:
    """Height and width of the encoding."""
    if isinstance(option, list | tuple) and len(option) == 2:
        return whole("frames", "size", option[0], 1, LARGEST_SIDE), whole("frames", "size", option[1], 1, LARGEST_SIDE)
    side = whole("frames", "size", option, 1, LARGEST_SIDE)
    return side, side

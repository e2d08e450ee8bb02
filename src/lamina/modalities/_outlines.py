"""Outlines as COCO writes them (Lin et al. 2014, "Microsoft COCO"): polygons or run lengths, and the pixels inside.

Run lengths count pixels down the columns, from left to right: outside, inside, outside, ... As text each is several
characters of 48 and more, five bits in each, the lowest first; a sixth bit says that more follow, and the highest of
the last is the sign. From the fourth on it is the difference from the one two before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from lamina.data.schema import Json
from lamina.modalities._files import Unreadable
from lamina.modalities._pixels import PIXEL_LIMIT

Array = np.ndarray[Any, Any]
Corners = Sequence[tuple[float, float]]

FIRST, BITS, MORE = 48, 5, 32
"""Of run lengths as text: the character that stands for 0, bits in each, and the one that says that more follow."""
DIFFERENT = 3
"""From this run length on, text gives differences."""
MOST_CHARACTERS = 7
"""Of one run length: what is longer is no number of pixels."""


@dataclass(frozen=True)
class Runs:
    """Pixels as run lengths.

    Attributes:
        lengths: int64, outside and inside by turns, down the columns.
        size: (height, width).
    """

    lengths: Array
    size: tuple[int, int]

    @property
    def mask(self) -> Array:
        """bool [height, width]."""
        inside = np.repeat(np.arange(len(self.lengths)) % 2 == 1, self.lengths)
        return inside.reshape(self.size[1], self.size[0]).T

    @classmethod
    def of(cls, mask: Array) -> Self:
        """The pixels of a mask, bool [height, width]."""
        flat = np.concatenate([[False], mask.T.ravel()])
        turns = np.flatnonzero(flat[1:] != flat[:-1])
        return cls(np.diff(turns, prepend=0, append=mask.size), (mask.shape[0], mask.shape[1]))


@dataclass(frozen=True)
class Outline:
    """One thing in a picture: `points`, `rings` or `runs` say where.

    Attributes:
        label: what it is.
        points: corners (x, y) of a polygon whose border belongs to it, as a pen draws it.
        rings: float64 [corner, 2] of each polygon, (x, y): a pixel belongs to it whose middle lies inside one of them.
        runs: the pixels themselves.
        crowd: a region of many things: what is in it is not judged.
    """

    label: str
    points: Corners = ()
    rings: tuple[Array, ...] = ()
    runs: Runs | None = None
    crowd: bool = False

    @property
    def area(self) -> float:
        """Pixels, those counted twice that two rings share."""
        if self.runs is not None:
            return float(self.runs.lengths[1::2].sum())
        return sum(area(corners) for corners in (self.rings or (self.points,)))

    def extent(self) -> tuple[float, float]:
        """(x, y) of its lowest right corner."""
        if self.runs is not None:
            return self.runs.size[1] - 1, self.runs.size[0] - 1
        corners = np.concatenate([np.asarray(one) for one in (self.rings or (self.points,))])
        return float(corners[:, 0].max()), float(corners[:, 1].max())

    def moved(self, right: int, down: int, height: int, width: int) -> Outline | None:
        """As it lies in the part of its picture that begins at (right, down) and is so large; None if not in it."""
        if self.runs is not None:
            part = _window(self.runs.mask, right, down, height, width)
            return replace(self, runs=Runs.of(part)) if part.any() else None
        corners = [np.asarray(one) - (right, down) for one in (self.rings or (self.points,))]
        if not any((one.max(axis=0) >= 0).all() and (one.min(axis=0) < (width, height)).all() for one in corners):
            return None
        if self.rings:
            return replace(self, rings=tuple(corners))
        return replace(self, points=[(float(x), float(y)) for x, y in corners[0]])

    def inside(self, height: int, width: int) -> Iterator[tuple[Array, int, int]]:
        """(bool [row, column], the first row, the first column) of `runs`, or of each of `rings`."""
        if self.runs is not None:
            yield self.runs.mask[:height, :width], 0, 0
        for ring in self.rings:
            yield filled(ring, height, width)


def segmentation(value: Json, size: tuple[int, int] | None) -> Outline:
    """An outline without a label from COCO's `segmentation`.

    Args:
        size: (height, width) of the picture, where it is known.

    Raises:
        Unreadable: it is missing or damaged, and why.
    """
    if value is None or (isinstance(value, list | tuple) and not len(value)):
        raise Unreadable("it has no segmentation")
    if isinstance(value, Mapping):
        return Outline("", runs=run_lengths(value.get("counts"), _size(value.get("size"), size)))
    if not isinstance(value, list | tuple):
        raise Unreadable("its segmentation is neither a list of polygons nor run lengths (counts and size)")
    return Outline("", rings=tuple(_ring(one) for one in value))


def _ring(numbers: Json) -> Array:
    try:
        flat = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        flat = np.zeros(0)
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2 or not (np.abs(flat) < PIXEL_LIMIT).all():
        raise Unreadable("a polygon of its segmentation is no list x1, y1, x2, y2, ... of at least three points")
    return flat.reshape(-1, 2)


def _size(value: Json, known: tuple[int, int] | None) -> tuple[int, int]:
    sides = value if isinstance(value, list | tuple) and len(value) == 2 else (0, 0)
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        raise Unreadable("the size of its run lengths is not [height, width]")
    if known is not None and tuple(sides) != known:
        raise Unreadable(
            f"its run lengths are of {sides[1]} x {sides[0]} pixels, its picture has {known[1]} x {known[0]}"
        )
    if sides[0] * sides[1] > PIXEL_LIMIT:
        raise Unreadable(f"its run lengths are of {sides[1]} x {sides[0]} pixels: no picture is so large")
    return sides[0], sides[1]


def area(corners: Corners | Array) -> float:
    """Pixels inside a polygon that does not cross itself, by the shoelace formula."""
    x, y = (np.asarray(corners, dtype=np.float64) - corners[0]).T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def run_lengths(counts: Json, size: tuple[int, int]) -> Runs:
    """COCO's `counts`, a list or text, of a picture of `size` (height, width).

    Raises:
        Unreadable: they are none, or not of as many pixels.
    """
    lengths = _from_text(counts) if isinstance(counts, str | bytes) else _whole(counts)
    if lengths is None or (lengths < 0).any():
        raise Unreadable("its run lengths (counts) are neither a list of whole numbers nor COCO's text")
    # As floats: a sum of hostile numbers would run over.
    pixels = lengths.sum(dtype=np.float64)
    if pixels != size[0] * size[1]:
        raise Unreadable(f"its run lengths are of {pixels:.0f} pixels, its size has {size[1]} x {size[0]}")
    return Runs(lengths, size)


def _whole(counts: Json) -> Array | None:
    try:
        lengths = np.asarray(counts)
    except ValueError:
        return None
    return lengths.astype(np.int64) if lengths.ndim == 1 and len(lengths) and lengths.dtype.kind in "iu" else None


def _from_text(text: str | bytes) -> Array | None:
    raw = text.encode("utf-8", errors="replace") if isinstance(text, str) else text
    codes = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - FIRST
    last = np.flatnonzero((codes & MORE) == 0)
    if not len(codes) or codes.min() < 0 or codes.max() >= 2 * MORE or not len(last) or last[-1] != len(codes) - 1:
        return None
    starts = np.concatenate([[0], last[:-1] + 1])
    characters = last - starts + 1
    if characters.max() > MOST_CHARACTERS:
        return None
    place = np.arange(len(codes)) - np.repeat(starts, characters)
    lengths = np.add.reduceat((codes & (MORE - 1)) << (BITS * place), starts)
    negative = (codes[last] & (MORE >> 1)) != 0
    lengths[negative] -= np.int64(1) << (BITS * characters[negative])
    # The first three stand for themselves; all further ones are added up, every second one.
    for start in (DIFFERENT - 2, DIFFERENT - 1):
        lengths[start::2] = np.cumsum(lengths[start::2])
    return lengths


def filled(corners: Array, height: int, width: int) -> tuple[Array, int, int]:
    """(bool [row, column], the first row, the first column): pixels of a picture whose middle lies inside a polygon.

    A middle is inside if a line from it to the left crosses the border an odd number of times.

    Args:
        corners: float64 [corner, 2], (x, y); the left upper pixel's middle is at (0.5, 0.5).
    """
    first, second = corners, np.roll(corners, -1, axis=0)
    rows = np.clip(np.ceil(np.stack([first[:, 1], second[:, 1]]) - 0.5), 0, height).astype(np.int64)
    begin, end = rows.min(axis=0), rows.max(axis=0)
    top, bottom = int(begin.min()), int(end.max())
    left, right = np.clip([np.floor(corners[:, 0].min()), np.ceil(corners[:, 0].max())], 0, width).astype(np.int64)
    # Every edge crosses the middles of the rows from its begin to before its end.
    times = end - begin
    edge = np.repeat(np.arange(len(corners)), times)
    row = np.arange(len(edge)) + np.repeat(begin - np.cumsum(times) + times, times)
    across, down = (second - first)[edge].T
    crossing = first[edge, 0] + (row + 0.5 - first[edge, 1]) * across / down
    column = np.clip(np.ceil(crossing - 0.5), left, right).astype(np.int64)
    shape = bottom - top, int(right - left) + 1
    crossed = np.bincount((row - top) * shape[1] + column - left, minlength=shape[0] * shape[1]).reshape(shape)
    return np.bitwise_xor.accumulate(crossed % 2 == 1, axis=1)[:, :-1], top, int(left)


def _window(mask: Array, right: int, down: int, height: int, width: int) -> Array:
    """A part of a mask; what lies beyond it is outside."""
    part = np.zeros((height, width), dtype=bool)
    spans = [
        (max(start, 0), min(start + side, whole))
        for start, side, whole in zip((down, right), (height, width), mask.shape, strict=True)
    ]
    if all(end > begin for begin, end in spans):
        (top, bottom), (before, after) = spans
        part[top - down : bottom - down, before - right : after - right] = mask[top:bottom, before:after]
    return part

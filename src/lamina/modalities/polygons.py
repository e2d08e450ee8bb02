"""Outlines of what a picture shows: a target only, a mask of the task "segment" in another form.

A value is a list, as JSON text or as it is: [{"label": "cat", "points": [[x, y], ...]}, ...], with "polygon" for
"points", or [[[x, y], ...], ...] without labels; in pixels of the picture. In place of "points" there may be COCO's
"segmentation": polygons [[x1, y1, x2, y2, ...], ...], or run lengths {"counts": ..., "size": [height, width]}; and
"crowd": true, where nothing is judged. The list may come with its picture's size:

    {"width": 320, "height": 240, "outlines": [{"label": "cat", "segmentation": [[12, 30.5, 92, 30.5, 50, 93]]}]}

Readers of labelled folders write values so. What is later in a list lies on top; where there is a "segmentation",
crowds lie below everything else, and smaller outlines on top of larger ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.data.schema import Json, Values
from lamina.modalities import Recognition
from lamina.modalities._canonical import column, object_array
from lamina.modalities._files import Unreadable, is_missing
from lamina.modalities._outlines import Outline, segmentation
from lamina.modalities._pixels import PIXEL_LIMIT

TARGET_ONLY = True
PLAIN = "object"
"""What a polygon without a label shows."""
LOOKED_AT = 50
"""Values that tell whether a column holds polygons."""


@dataclass(frozen=True)
class Outlines:
    """What is outlined in one picture.

    Attributes:
        things: those later on top of those before.
        size: (height, width) of the picture in pixels, where the value says it.
    """

    things: tuple[Outline, ...]
    size: tuple[int, int] | None = None

    @property
    def labels(self) -> set[str]:
        """Of all that is asked for."""
        return {thing.label for thing in self.things if not thing.crowd}

    def moved(self, right: int, down: int, height: int, width: int) -> Outlines:
        """What reaches into the part of the picture that begins at (right, down) and is so large."""
        there = (thing.moved(right, down, height, width) for thing in self.things)
        return Outlines(tuple(thing for thing in there if thing is not None), (height, width))


def read(value: Any) -> Outlines | None:
    """The outlines of a value; None where it is no list of them.

    Raises:
        Unreadable: it is one, but not a sound one.
    """
    if isinstance(value, Outlines):
        return value
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the polygons are no valid JSON: {error}") from None
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    size = None
    if isinstance(value, Mapping) and "outlines" in value:
        size, value = _size(value), value["outlines"]
    if not isinstance(value, list | tuple):
        return None
    things = [_outline(item, number, size) for number, item in enumerate(value, 1)]
    if any(not thing.points for thing in things):
        things.sort(key=lambda thing: (not thing.crowd, -thing.area))
    return Outlines(tuple(things), size)


def _size(value: Mapping[str, Any]) -> tuple[int, int]:
    sides = value.get("height"), value.get("width")
    whole = [int(side) for side in sides if isinstance(side, int | float) and 1 <= side < PIXEL_LIMIT]
    if tuple(whole) != sides or whole[0] * whole[1] > PIXEL_LIMIT:
        raise Unreadable(f"the outlines' width and height are {sides[1]!r} and {sides[0]!r}, no picture's size")
    return whole[0], whole[1]


def _outline(item: Json, number: int, size: tuple[int, int] | None) -> Outline:
    if isinstance(item, Mapping) and "segmentation" in item:
        label = item.get("label")
        if not isinstance(label, str) or not label.strip():
            raise Unreadable(f"outline {number}: its label is {label!r}")
        try:
            found = segmentation(item["segmentation"], size)
        except Unreadable as error:
            raise Unreadable(f"outline {number}: {error}") from None
        return replace(found, label=label.strip(), crowd=bool(item.get("crowd")))
    label, points = PLAIN, item
    if isinstance(item, Mapping):
        label, points = str(item.get("label", PLAIN)), item.get("points", item.get("polygon"))
    try:
        corners = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError, OverflowError):
        corners = []
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise Unreadable("a polygon is a list of at least three points [x, y] in pixels of the picture")
    return Outline(label, corners)


def _counted(values: Values) -> tuple[Counter[str], list[int], int, int]:
    """(Outlines by label, how many each list holds, values that are none, missing values)."""
    labels: Counter[str] = Counter()
    numbers: list[int] = []
    odd = missing = 0
    for value in column(values):
        if is_missing(value):
            missing += 1
            continue
        try:
            found = read(value)
        except Unreadable:
            found = None
        if found is None:
            odd += 1
            continue
        numbers.append(len(found.things))
        labels.update(thing.label for thing in found.things if not thing.crowd)
    return labels, numbers, odd, missing


def recognise(values: Values, name: str) -> Recognition | None:
    """Lists of outlines in at least nine of ten values."""
    if values.dtype.kind != "O":
        return None
    some = [value for value in values[: 20 * LOOKED_AT] if not is_missing(value)][:LOOKED_AT]
    if not all(_may_be(value) for value in some):
        return None
    labels, numbers, odd, _ = _counted(object_array(some))
    # Lists without anything in them could be of any kind; what says that it is outlines is, however many are broken.
    said = bool(some) and all(map(_says_so, some))
    if not said and (not labels or len(numbers) < 9 * odd):
        return None
    things = labels.total() / max(len(numbers), 1)
    return Recognition(0.96, f"polygons around things in pictures, {things:.1f} a picture")


def _may_be(value: Any) -> bool:
    """A look at the first letters: most columns are something else."""
    if isinstance(value, str):
        return value.lstrip()[:1] == "[" or _says_so(value)
    return isinstance(value, list | tuple | np.ndarray) or _says_so(value)


def _says_so(value: Any) -> bool:
    """Is it written with the picture's size?"""
    if isinstance(value, str):
        return value.lstrip()[:1] == "{" and '"outlines"' in value
    return isinstance(value, Mapping) and "outlines" in value


def describe(values: Values) -> dict[str, Json]:
    """Counts of polygons and labels, and of values that cannot be read."""
    labels, numbers, odd, missing = _counted(values)
    return {
        "count": len(values),
        "missing": missing / max(len(values), 1),
        "unreadable": odd,
        "polygons": labels.total(),
        "pictures_without_polygons": numbers.count(0),
        "labels": dict(sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))[:50]),
    }

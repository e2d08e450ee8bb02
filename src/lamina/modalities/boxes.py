"""Boxes around things in a picture: a target only, the true answer of the task "detect".

A value is a picture's size with its boxes, in pixels of the picture, as JSON text or as a mapping:

    {"width": 320, "height": 240, "boxes": [{"label": "cat", "x": 12, "y": 30.5, "width": 80, "height": 63}]}

`x` and `y` are the left and the upper edge. A box may say its `area` (of the thing's visible part, for scores by size)
and that it is a `crowd`: a region of many things or a hard case, which is neither asked for nor counted as wrong.
Readers of labelled folders write values so. Where a value is the list of boxes alone, the picture tells its size.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.schema import Json, Values
from lamina.modalities import Recognition
from lamina.modalities._canonical import MISSING, column

Array = np.ndarray[Any, Any]

TARGET_ONLY = True
KEYS = frozenset({"label", "x", "y", "width", "height"})
LARGEST_SIDE = 1_000_000
"""Pixels: no picture has more, and squares of it are exact in float64."""
MOST_BOXES = 10_000
SMALL = 0.2
"""This share of the boxes is called small: their side is what a picture's size is chosen by."""
LOOKED_AT = 50
"""Values that tell whether a column holds boxes."""


@dataclass(frozen=True)
class Boxes:
    """The things in one picture.

    Attributes:
        width, height: of the picture in pixels; 0 where the value does not say.
        labels: of each box.
        edges: float64 [box, 4]: left, upper, right and lower edge in pixels, inside the picture.
        areas: float64 [box]: pixels of the thing itself, or of its box.
        crowd: bool [box]: neither asked for nor wrong.
        clipped: how many boxes reached beyond the picture.
    """

    width: float
    height: float
    labels: tuple[str, ...]
    edges: Array
    areas: Array
    crowd: Array
    clipped: int = 0


def read(value: Any) -> Boxes | str | None:
    """A value as boxes, None where it is missing, or what is wrong with it. Never raises."""
    found = _document(value)
    if found is None or isinstance(found, str):
        return found
    width, height, items = found
    if len(items) > MOST_BOXES:
        return f"{len(items):,} boxes in one picture: at most {MOST_BOXES:,} are read"
    labels: list[str] = []
    edges, areas, crowd = np.zeros((len(items), 4)), np.zeros(len(items)), np.zeros(len(items), dtype=bool)
    clipped = 0
    for number, item in enumerate(items):
        box = _box(item, width, height)
        if isinstance(box, str):
            return f"box {number + 1}: {box}"
        label, edges[number], areas[number], crowd[number], outside = box
        labels.append(label)
        clipped += outside
    return Boxes(width, height, tuple(labels), edges, areas, crowd, clipped)


def with_size(value: Any, width: float, height: float) -> dict[str, Any]:
    """A list of boxes as a value that says its picture's size."""
    found = _document(value)
    return {"width": width, "height": height, "boxes": found[2] if isinstance(found, tuple) else []}


def _document(value: Any) -> tuple[float, float, list[Any]] | str | None:
    """(width, height, boxes as they are written); 0 for an unknown side."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, bytes | bytearray):
        value = bytes(value).decode("utf-8", errors="replace")
    if isinstance(value, str):
        if value.strip().casefold() in MISSING:
            return None
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return f"{_short(value)!r} is no JSON of boxes"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return 0.0, 0.0, list(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("boxes"), list | tuple | np.ndarray):
        return f"{_short(str(value))!r} has no list of boxes"
    sides = [_number(value.get(side)) for side in ("width", "height")]
    if any(side is None or not 1 <= side <= LARGEST_SIDE for side in sides):
        return f"the picture's width and height are {value.get('width')!r} and {value.get('height')!r}"
    return float(sides[0] or 0), float(sides[1] or 0), list(value["boxes"])


def _box(item: Any, width: float, height: float) -> tuple[str, list[float], float, bool, bool] | str:
    """(label, edges inside the picture, area, whether a crowd, whether it was clipped), or what is wrong."""
    if not isinstance(item, Mapping):
        return f"{_short(str(item))!r} is no box: write label, x, y, width and height"
    if missing := sorted(KEYS - set(item)):
        return f"it has no {missing[0]}"
    label = item["label"]
    if not isinstance(label, str) or not label.strip():
        return f"its label is {label!r}"
    numbers = [_number(item[key]) for key in ("x", "y", "width", "height")]
    if any(number is None for number in numbers):
        wrong = next(key for key in ("x", "y", "width", "height") if _number(item[key]) is None)
        return f"its {wrong} is {item[wrong]!r}"
    x, y, wide, high = (number or 0.0 for number in numbers)
    if wide <= 0 or high <= 0:
        return f"it is {wide:g} pixels wide and {high:g} high"
    edges = [x, y, x + wide, y + high]
    outside = False
    if width:
        inside = [min(max(edge, 0.0), limit) for edge, limit in zip(edges, (width, height) * 2, strict=True)]
        outside, edges = inside != edges, inside
        if edges[2] <= edges[0] or edges[3] <= edges[1]:
            return f"it lies outside the picture, which is {width:g} x {height:g} pixels"
    own = (edges[2] - edges[0]) * (edges[3] - edges[1])
    area = _number(item.get("area"))
    return label.strip(), edges, own if area is None or area <= 0 else area, bool(item.get("crowd")), outside


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and abs(number) <= LARGEST_SIDE**2 else None


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"


def _each(values: Values) -> Iterator[Boxes | str | None]:
    return (read(value) for value in column(values))


def recognise(values: Values, name: str) -> Recognition | None:
    """Mappings with boxes, or lists of boxes, in at least nine of ten values."""
    if values.dtype.kind != "O":
        return None
    boxes = present = things = 0
    for value in values:
        if present == LOOKED_AT:
            break
        if not _may_be(value) and value is not None:
            return None
        found = read(value)
        present += found is not None
        if isinstance(found, Boxes):
            boxes += 1
            things += len(found.labels)
    # Lists without anything in them could be of any kind.
    if not things or boxes < 0.9 * present:
        return None
    return Recognition(0.97, f"boxes around things in pictures, {things / boxes:.1f} a picture")


def _may_be(value: Any) -> bool:
    """A look at the first letter: most columns are something else."""
    if isinstance(value, str):
        return not value.strip() or value.lstrip()[:1] in "[{" or value.strip().casefold() in MISSING
    return isinstance(value, Mapping | list | tuple | np.ndarray | float)


def describe(values: Values) -> dict[str, Json]:
    """Counts of boxes and labels, of boxes that reach beyond their picture, and of values that cannot be read."""
    labels: Counter[str] = Counter()
    sides: list[float] = []  # of squares of the same area
    pictures = empty = clipped = crowds = missing = unreadable = 0
    for found in _each(values):
        if found is None or isinstance(found, str):
            missing += found is None
            unreadable += found is not None
            continue
        pictures += 1
        empty += not found.labels
        clipped += found.clipped
        crowds += int(found.crowd.sum())
        labels.update(found.labels)
        sides.extend(np.sqrt(np.prod(found.edges[:, 2:] - found.edges[:, :2], axis=1)).tolist())
    return {
        "count": len(values),
        "missing": missing / max(len(values), 1),
        "unreadable": unreadable,
        "boxes": labels.total(),
        "boxes_a_picture": labels.total() / pictures if pictures else 0.0,
        "pictures_without_boxes": empty,
        "clipped": clipped,
        "crowds": crowds,
        "small_side": float(np.quantile(sides, SMALL)) if sides else 0.0,
        "median_side": float(np.median(sides)) if sides else 0.0,
        "labels": dict(sorted(labels.items(), key=lambda pair: (-pair[1], pair[0]))[:50]),
    }

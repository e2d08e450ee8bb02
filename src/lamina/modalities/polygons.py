"""Polygons around what a picture shows: a target only, a mask of the task "segment" in another form.

A value is a list, as JSON text or as it is: [{"label": "cat", "points": [[x, y], ...]}, ...], with "polygon" for
"points", or [[[x, y], ...], ...] without labels; in pixels of the picture.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from lamina.data.schema import Json, Values
from lamina.modalities import Recognition
from lamina.modalities._canonical import column, object_array
from lamina.modalities._files import Unreadable, is_missing

Polygon = tuple[str, list[tuple[float, float]]]

TARGET_ONLY = True
PLAIN = "object"
"""What a polygon without a label shows."""
LOOKED_AT = 50
"""Values that tell whether a column holds polygons."""


def read(value: Any) -> list[Polygon] | None:
    """(label, points) of each polygon; None where the value is no list.

    Raises:
        Unreadable: it is a list, but not a sound one.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"the polygons are no valid JSON: {error}") from None
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return None
    return [_polygon(item) for item in value]


def _polygon(item: Json) -> Polygon:
    label, points = PLAIN, item
    if isinstance(item, Mapping):
        label, points = str(item.get("label", PLAIN)), item.get("points", item.get("polygon"))
    try:
        corners = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError, OverflowError):
        corners = []
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise Unreadable("a polygon is a list of at least three points [x, y] in pixels of the picture")
    return label, corners


def _counted(values: Values) -> tuple[Counter[str], list[int], int, int]:
    """(Polygons by label, how many each list holds, values that are none, missing values)."""
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
        numbers.append(len(found))
        labels.update(label for label, _ in found)
    return labels, numbers, odd, missing


def recognise(values: Values, name: str) -> Recognition | None:
    """Lists of polygons in at least nine of ten values."""
    if values.dtype.kind != "O":
        return None
    some = [value for value in values[: 20 * LOOKED_AT] if not is_missing(value)][:LOOKED_AT]
    if not all(_may_be(value) for value in some):
        return None
    labels, numbers, odd, _ = _counted(object_array(some))
    # Lists without anything in them could be of any kind.
    if not labels or len(numbers) < 9 * odd:
        return None
    return Recognition(0.96, f"polygons around things in pictures, {labels.total() / len(numbers):.1f} a picture")


def _may_be(value: Any) -> bool:
    """A look at the first letter: most columns are something else."""
    if isinstance(value, str):
        return value.lstrip()[:1] == "["
    return isinstance(value, list | tuple | np.ndarray)


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

"""Parts that are cut out of larger pictures to learn from: how many, and what the pictures hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.data.tables import Table
from lamina.errors import InputError
from lamina.modalities import image
from lamina.modalities._files import Unreadable, is_missing

Array = np.ndarray[Any, Any]

LOOKED_AT = 300
"""Pictures whose sizes are looked at."""
SMALL = 0.05
"""So large a share of the pictures may be smaller than the part that is cut out; their borders are repeated."""
WANTED = 5000
"""Parts to train on that are cut out where the pictures hold as many."""
TRAINED = 0.7
"""About so large a share of the pictures is trained on."""
MOST_PARTS = 10_000
NARROW = 0.25
"""Share of a part's side; for less at a picture's border no further part is cut out."""


@dataclass(frozen=True)
class Sizes:
    """Of some pictures, in pixels."""

    headers: tuple[image.Header, ...]

    @property
    def heights(self) -> list[int]:
        return [one.height for one in self.headers]

    @property
    def widths(self) -> list[int]:
        return [one.width for one in self.headers]

    @property
    def same(self) -> bool:
        return len(set(self.heights)) == len(set(self.widths)) == 1

    def usual(self) -> str:
        """The median, as the user reads it."""
        return f"{np.median(self.widths):.0f} x {np.median(self.heights):.0f} pixels"

    def hold(self, height: int, width: int) -> int:
        """How many parts of this size it takes to cover a picture but for NARROW strips, in the mean; at least 1."""
        shapes = zip(self.heights, self.widths, strict=True)
        numbers = [_number(tall / height) * _number(wide / width) for tall, wide in shapes]
        return round(float(np.mean(numbers))) if numbers else 1


def _number(sides: float) -> int:
    return max(1, math.ceil(sides - NARROW))


def sizes_of(table: Table, column: str, among: Array | None = None) -> Sizes:
    """Of at most LOOKED_AT pictures, evenly spaced; what is no picture is passed over."""
    return Sizes(tuple(found for value in some(table, column, LOOKED_AT, among) if (found := _header(value, table))))


def some(table: Table, column: str, most: int, among: Array | None = None) -> list[Any]:
    """At most so many of a column's values, evenly spaced."""
    rows = np.arange(len(table)) if among is None else among
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(np.int64))]
    return [value for value in table.take(rows, [column])[column] if not is_missing(value)]


def _header(value: Any, table: Table) -> image.Header | None:
    try:
        return image.header(value, table.root)
    except Unreadable:
        return None


def parts_of(options: Mapping[str, Json], target: str, pictures: int, held: int) -> int:
    """How many parts are cut out of each picture: as the option "parts" says, or so that there are WANTED to train on.

    Args:
        pictures: how many there are, those for testing among them.
        held: how many parts a picture holds.

    Raises:
        InputError: the option is no whole number from 1 to MOST_PARTS.
    """
    asked = options.get("parts", "auto")
    if asked == "auto":
        return max(1, min(held, -(-WANTED // max(1, int(TRAINED * pictures)))))
    if isinstance(asked, bool) or not isinstance(asked, int) or not 1 <= asked <= MOST_PARTS:
        raise InputError(
            f"{asked!r} parts cannot be cut out of a picture.",
            where=f"task.{target}.parts",
            fix=f'Give a whole number from 1 to {MOST_PARTS:,}, or "auto".',
        )
    return asked


def told(parts: int, height: int, width: int, pictures: int) -> str:
    """How many parts there are, as the user reads it."""
    each = f", {parts:,} of each of {pictures:,} pictures" if parts > 1 else ", one of each picture"
    return f"{parts * pictures:,} parts of {width} x {height} pixels{each}"


def sides_of(size: Json) -> tuple[int, int] | None:
    """(height, width) of an option that names them; None where it does not, or is none."""
    pair = size if isinstance(size, list) else [size, size]
    whole = len(pair) == 2 and all(isinstance(side, int) and not isinstance(side, bool) for side in pair)
    return (pair[0], pair[1]) if whole else None

"""A table of pairs from a table of pictures, made on reading, the same each time: a picture made worse and as it is, or
parts cut out of two pictures, or of a picture and its mask, at the same place.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lamina.data.degrade import Degrading
from lamina.data.readers.paired import RESTORED
from lamina.data.schema import Json, Values
from lamina.data.tables import Rows, Table
from lamina.modalities import image, polygons
from lamina.modalities._files import Unreadable, each, objects

__all__ = ["RESTORED", "WINDOWS", "Cutting", "Making", "Pairs"]

Array = np.ndarray[Any, Any]

WINDOWS = ("whole", "cut")
AT_ONCE = 2**26
"""Bytes of pictures that are made together."""
LOOKED_AT = 200
"""Pictures whose parts tell encoders what is usual: each is decoded for it."""


class Maker(Protocol):
    """What makes pairs.

    Attributes:
        parts: how many pairs are made of each row.
    """

    @property
    def parts(self) -> int: ...

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""

    @property
    def makes(self) -> tuple[str, str]:
        """The columns that are made."""

    @property
    def size(self) -> int:
        """Bytes of a pair, about."""

    def pairs(self, values: Sequence[Any], picture: int, draws: Sequence[int], root: Path | None) -> list[Any]:
        """Pairs number `draws` of one row.

        Args:
            values: of `columns`.
            picture: the row's number; with the draw and the seed it decides all that is drawn at random.

        Raises:
            Unreadable: they cannot be made, and why.
        """


@dataclass(frozen=True)
class Making:
    """How pairs are made of a picture.

    Attributes:
        column: where the pictures are; the worse ones are there in the new table.
        degrading: what makes them worse.
        height, width, channels: of the better picture.
        window: "whole" (the picture is brought to that size) or "cut" (parts of that size, as they are: what is fine in
            a picture is lost when it is made small).
        resize: how a whole picture is brought to size, as of the modality "image".
        seed: with the numbers of the row and of the part it decides everything that is drawn.
        parts: pairs made of each picture.
    """

    column: str
    degrading: Degrading
    height: int
    width: int
    channels: int
    window: str = "whole"
    resize: str = "stretch"
    seed: int = 0
    parts: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def makes(self) -> tuple[str, str]:
        return self.column, RESTORED

    @property
    def size(self) -> int:
        return 2 * self.height * self.width * self.channels

    def pairs(self, values: Sequence[Any], picture: int, draws: Sequence[int], root: Path | None = None) -> list[Any]:
        """(worse, better) of one picture: uint8 [height, width, channel], grey ones [height, width].

        Raises:
            Unreadable: it is no picture, and why.
        """
        found = []
        if self.window == "cut":
            pixels = widened(image.decoded(values[0], self.channels, root), self.height, self.width)
        else:
            encoded = self._encoder.encode(objects(values), root)
            if encoded.errors:
                raise Unreadable(encoded.errors[0])
            pixels = encoded.array[0]
        for draw in draws:
            random = np.random.default_rng((self.seed, picture, draw))
            top, left = place(pixels.shape[:2], (self.height, self.width), (self.seed, picture), draw)
            better = pixels[top : top + self.height, left : left + self.width]
            found.append((_flat(self.degrading.apply(better, random)), _flat(better)))
        return found

    @property
    def _encoder(self) -> image.Encoder:
        blank = (0.0,) * self.channels
        return image.Encoder(self.height, self.width, self.channels, self.resize, blank, blank, 0.0)


@dataclass(frozen=True)
class Cutting:
    """How parts are cut out of two pictures, or of a picture and its mask, at the same places.

    Attributes:
        first, second: their columns.
        height, width: of a part of the first.
        channels: of the first's pictures.
        others: of the second's; 0 where they are masks, which stay as they are stored, or polygons.
        scale: how many times larger the second's pictures are.
        seed: with the numbers of the row and of the part it decides the place.
        parts: cut out of each picture.
    """

    first: str
    second: str
    height: int
    width: int
    channels: int
    others: int
    scale: int = 1
    seed: int = 0
    parts: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        return self.first, self.second

    @property
    def makes(self) -> tuple[str, str]:
        return self.first, self.second

    @property
    def size(self) -> int:
        return self.height * self.width * (self.channels + max(self.others, 4) * self.scale**2)

    def pairs(self, values: Sequence[Any], picture: int, draws: Sequence[int], root: Path | None = None) -> list[Any]:
        """Parts (first, second): arrays [height, width(, channel)], of outlines those that reach into it.

        Raises:
            Unreadable: one of them cannot be read, or they do not fit each other; and why.
        """
        pixels = image.decoded(values[0], self.channels, root)
        drawn = None if self.others else polygons.read(values[1])
        if drawn is not None and drawn.size not in (None, pixels.shape[:2]):
            raise Unreadable("the outlines do not fit the picture")
        other = None
        if drawn is None:
            other = image.decoded(values[1], self.others, root) if self.others else image.raw_pixels(values[1], root)
            if other.shape[:2] != tuple(self.scale * side for side in pixels.shape[:2]):
                raise Unreadable("the two pictures do not fit each other")
            other = widened(other, self.scale * self.height, self.scale * self.width)
        above, before = (max(0, side - own) // 2 for side, own in zip(self._sides, pixels.shape, strict=False))
        pixels = widened(pixels, self.height, self.width)
        found = []
        for draw in draws:
            top, left = place(pixels.shape[:2], self._sides, (self.seed, picture), draw)
            part = pixels[top : top + self.height, left : left + self.width]
            found.append((_flat(part), self._second(other, drawn, top, left, top - above, left - before)))
        return found

    def needed(self, value: Any, root: Path | None = None) -> int:
        """How many parts cover one of the first pictures, `parts` at most.

        Raises:
            Unreadable: it is no picture, and why.
        """
        size = image.header(value, root)
        return min(self.parts, math.ceil(size.height / self.height) * math.ceil(size.width / self.width))

    @property
    def _sides(self) -> tuple[int, int]:
        return self.height, self.width

    def _second(
        self, other: Array | None, drawn: polygons.Outlines | None, top: int, left: int, down: int, right: int
    ) -> Any:
        if other is not None:
            rows, columns = (
                slice(self.scale * start, self.scale * (start + side))
                for start, side in zip((top, left), self._sides, strict=True)
            )
            return _flat(other[rows, columns])
        return None if drawn is None else drawn.moved(right, down, *self._sides)


class Pairs(Table):
    """A table that reads as the pairs that are made of another's rows, `making.parts` of each, one after the other.

    Args:
        table: of pictures.
        making: how.
        kept: other columns of the table that are in the new one.

    What cannot be made stays what it is in both columns: whoever encodes it says why.
    """

    made = True

    def __init__(self, table: Table, making: Making | Cutting, kept: Sequence[str] = ()) -> None:
        document: Json = {"table": table.fingerprint, "making": asdict(making)}
        super().__init__(
            table._pieces,
            name=table.name,
            columns=(*making.makes, *kept),
            root=table.root,
            fingerprint=hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest(),
            unreadable=table.unreadable,
            notes=table.notes,
            boundary=None if table.boundary is None else table.boundary * making.parts,
            added=tuple(row * making.parts for row in table.added),
        )
        self._table, self.making, self.times = table, making, making.parts

    def __len__(self) -> int:
        return len(self._table) * self.times

    def chunks(
        self, rows: Rows | None = None, columns: Sequence[str] | None = None, size: int = 4096
    ) -> Iterator[tuple[Rows, dict[str, Values]]]:
        """As of every table; so few rows of pictures at a time that they take little memory, and whole pictures."""
        if set(self.making.makes) & set(self._known(columns)):
            size = min(size, max(1, AT_ONCE // self.making.size))
            size = max(size - size % self.times, 1) if size >= self.times else size
        return super().chunks(rows, columns, size)

    def take(self, rows: Rows | Sequence[int], columns: Sequence[str] | None = None) -> dict[str, Values]:
        """As of every table; the pictures are arrays [height, width(, channel)]."""
        wanted = self._known(columns)
        numbers = np.asarray(rows, dtype=np.int64)
        pictures = numbers // self.times
        plain = [name for name in wanted if name not in self.making.makes]
        found = self._table.take(pictures, plain) if plain else {}
        if set(self.making.makes) & set(wanted):
            found = {**found, **self._made(pictures, numbers % self.times)}
        return {name: found[name] for name in wanted}

    def place(self, row: int) -> str:
        """Of the picture, and which of its parts it is."""
        where = self._table.place(row // self.times)
        return f"{where}, part {row % self.times + 1}" if self.times > 1 else where

    def places(self) -> dict[str, Json]:
        """Of the pictures: `lamina.steps.pairing.again` makes the same pairs of them."""
        return self._table.places()

    def without_added(self) -> Table:
        """As of every table; what is made of a picture depends on its number, which stays."""
        return Pairs(self._table.without_added(), self.making, self.columns[2:]) if self.added else self

    def raw(self, column: str) -> tuple[Table, str]:
        """What a picture is made of: equal pictures make equal pairs but for chance."""
        if column not in self.making.makes:
            return self, column
        return self._table, column if column in self.making.columns else self.making.columns[0]

    def some(self, rows: Rows) -> Rows:
        """The parts of some pictures: all that encoders ask of them is what they look like."""
        pictures = np.unique(rows // self.times)
        if len(pictures) <= LOOKED_AT or self.times == 1:
            return rows
        chosen = pictures[np.linspace(0, len(pictures) - 1, LOOKED_AT).round().astype(np.int64)]
        return rows[np.isin(rows // self.times, chosen)]

    def _made(self, pictures: Rows, draws: Array) -> dict[str, Values]:
        """Both columns of pairs; every picture is decoded once."""
        different, places = np.unique(pictures, return_inverse=True)
        values = self._table.take(different, list(self.making.columns))
        sources = [values[name] for name in self.making.columns]
        made = [objects([None] * len(pictures)) for _ in self.making.makes]
        order = np.argsort(places, kind="stable")
        ends = np.cumsum(np.bincount(places, minlength=len(different)))

        def one(number: int) -> None:
            positions = order[ends[number - 1] if number else 0 : ends[number]]
            given = [source[number] for source in sources]
            pairs: list[Any] = [(given[0], given[-1])] * len(positions)
            with suppress(Unreadable):
                pairs = self.making.pairs(given, int(different[number]), draws[positions].tolist(), self.root)
            for position, pair in zip(positions.tolist(), pairs, strict=True):
                made[0][position], made[1][position] = pair

        each(one, len(different), group=1 if self.times > 1 else 8)
        return dict(zip(self.making.makes, made, strict=True))


def place(shape: Sequence[int], sides: tuple[int, int], seed: tuple[int, ...], draw: int) -> tuple[int, int]:
    """(top, left) of part number `draw` of a picture of this shape.

    The first parts are those of a grid that covers the picture with as little overlap as may be, in an order drawn at
    random, so that nothing is seen twice before everything was seen once; further ones lie anywhere.
    """
    grid = [_starts(length, side) for length, side in zip(shape, sides, strict=True)]
    cells = len(grid[0]) * len(grid[1])
    if draw >= cells:
        random = np.random.default_rng((*seed, 1, draw))
        top, left = (int(random.integers(0, length - side + 1)) for length, side in zip(shape, sides, strict=True))
        return top, left
    cell = int(np.random.default_rng(seed).permutation(cells)[draw])
    return int(grid[0][cell // len(grid[1])]), int(grid[1][cell % len(grid[1])])


def _starts(length: int, side: int) -> Array:
    return np.linspace(0, length - side, math.ceil(length / side)).round().astype(np.int64)


def widened(picture: Array, height: int, width: int) -> Array:
    """[height, width, ...] of at least this size: the border is repeated where it is smaller."""
    missing = [max(0, wanted - side) for wanted, side in zip((height, width), picture.shape, strict=False)]
    if not any(missing):
        return picture
    margins = [(short // 2, short - short // 2) for short in missing]
    return np.pad(picture, [*margins, *[(0, 0)] * (picture.ndim - 2)], mode="edge")


def _flat(picture: Array) -> Array:
    return picture[:, :, 0] if picture.ndim == 3 and picture.shape[2] == 1 else picture

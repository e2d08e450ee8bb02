"""A table of pairs, worse picture and picture, from a table of pictures: made on reading, the same each time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lamina.data.degrade import Degrading
from lamina.data.schema import Json, Values
from lamina.data.tables import Rows, Table
from lamina.modalities import image
from lamina.modalities._files import Unreadable, each, objects

Array = np.ndarray[Any, Any]

RESTORED = "restored"
"""What the picture is called that the worse one was made of, and so the answer."""
WINDOWS = ("whole", "cut")


@dataclass(frozen=True)
class Making:
    """How a pair is made of a picture.

    Attributes:
        column: where the pictures are; the worse ones are there in the new table.
        degrading: what makes them worse.
        height, width, channels: of the better picture.
        window: "whole" (the picture is brought to that size) or "cut" (a part of that size, at a place drawn at random,
            as it is: what is fine in a picture is lost when it is made small).
        resize: how a whole picture is brought to size, as of the modality "image".
        seed: with the row's number it decides everything that is drawn.
    """

    column: str
    degrading: Degrading
    height: int
    width: int
    channels: int
    window: str = "whole"
    resize: str = "stretch"
    seed: int = 0

    def pair(self, value: object, row: int, root: Any = None) -> tuple[Array, Array]:
        """(worse, better) of one picture: uint8 [height, width, channel], grey ones [height, width].

        Raises:
            Unreadable: it is no picture, and why.
        """
        random = np.random.default_rng((self.seed, row))
        better = self._cut(image.decoded(value, self.channels, root), random) if self.window == "cut" else None
        if better is None:
            encoded = self._encoder.encode(objects([value]), root)
            if encoded.errors:
                raise Unreadable(encoded.errors[0])
            better = encoded.array[0]
        return _flat(self.degrading.apply(better, random)), _flat(better)

    @property
    def _encoder(self) -> image.Encoder:
        blank = (0.0,) * self.channels
        return image.Encoder(self.height, self.width, self.channels, self.resize, blank, blank, 0.0)

    def _cut(self, picture: Array, random: np.random.Generator) -> Array:
        """A part of the picture; where it is too small, its border is repeated."""
        missing = [
            max(0, wanted - side) for wanted, side in zip((self.height, self.width), picture.shape, strict=False)
        ]
        if any(missing):
            margins = [(short // 2, short - short // 2) for short in missing]
            picture = np.pad(picture, [*margins, (0, 0)], mode="edge")
        top = int(random.integers(0, picture.shape[0] - self.height + 1))
        left = int(random.integers(0, picture.shape[1] - self.width + 1))
        return picture[top : top + self.height, left : left + self.width]


class Pairs(Table):
    """A table that reads as its pictures made worse, and, in the column RESTORED, as they are.

    Args:
        table: of pictures.
        making: how.
        kept: other columns of the table that are in the new one.

    A picture that cannot be read stays what it is in both columns: whoever encodes it says why.
    """

    made = True

    def __init__(self, table: Table, making: Making, kept: Sequence[str] = ()) -> None:
        document: Json = {"table": table.fingerprint, "making": asdict(making)}
        super().__init__(
            table._pieces,
            name=table.name,
            columns=(making.column, RESTORED, *kept),
            root=table.root,
            fingerprint=hashlib.blake2b(json.dumps(document, sort_keys=True).encode(), digest_size=16).hexdigest(),
            unreadable=table.unreadable,
            notes=table.notes,
            boundary=table.boundary,
        )
        self._table, self.making = table, making

    def take(self, rows: Rows | Sequence[int], columns: Sequence[str] | None = None) -> dict[str, Values]:
        """As of every table; the pictures are uint8 arrays [height, width(, channel)]."""
        wanted = self._known(columns)
        made = {self.making.column, RESTORED}
        plain = [name for name in wanted if name not in made]
        found = self._table.take(rows, plain) if plain else {}
        if made & set(wanted):
            values = self._table.take(rows, [self.making.column])[self.making.column]
            worse, better = self._made(values, np.asarray(rows, dtype=np.int64))
            found = {**found, self.making.column: worse, RESTORED: better}
        return {name: found[name] for name in wanted}

    def places(self) -> dict[str, Json]:
        """Of the pictures: `lamina.steps.pairing.again` makes the same pairs of them."""
        return self._table.places()

    def raw(self, column: str) -> tuple[Table, str]:
        """Of both pictures of a pair, the one that they are made of: equal pictures make equal pairs but for chance."""
        return (self._table, self.making.column) if column in (self.making.column, RESTORED) else (self, column)

    def _made(self, values: Values, rows: Rows) -> tuple[Values, Values]:
        worse, better = objects(list(values)), objects(list(values))

        def one(position: int) -> None:
            with suppress(Unreadable):
                worse[position], better[position] = self.making.pair(values[position], int(rows[position]), self.root)

        each(one, len(values))
        return worse, better


def _flat(picture: Array) -> Array:
    return picture[:, :, 0] if picture.shape[2] == 1 else picture

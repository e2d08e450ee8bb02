"""Where a picture comes to lie when it is brought to the size that it is encoded in, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Place:
    """A rectangle of the encoded picture: what a whole picture, or for "crop" its middle, covers."""

    top: int
    left: int
    height: int
    width: int

    def of(self, array: Array) -> Array:
        """What lies there of [height, width, ...]."""
        return array[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Frame:
    """The size that pictures are encoded in, and how they are brought to it.

    Attributes:
        height, width: in pixels.
        resize: "stretch", "pad" (the whole picture, centred) or "crop" (its middle).
    """

    height: int
    width: int
    resize: str

    def place(self, height: int, width: int) -> Place:
        """Where a picture of this size lies."""
        if self.resize != "pad":
            return Place(0, 0, self.height, self.width)
        ratio = min(self.width / width, self.height / height)
        tall, wide = max(1, round(height * ratio)), max(1, round(width * ratio))
        return Place((self.height - tall) // 2, (self.width - wide) // 2, tall, wide)

    def box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of what is kept of a picture of this size, in its own pixels."""
        if self.resize != "crop":
            return 0.0, 0.0, float(width), float(height)
        ratio = max(self.width / width, self.height / height)
        wide, tall = self.width / ratio, self.height / ratio
        left, top = (width - wide) / 2, (height - tall) / 2
        right, bottom = min(left + wide, float(width)), min(top + tall, float(height))
        return max(left, 0.0), max(top, 0.0), right, bottom

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"height": self.height, "width": self.width, "resize": self.resize}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(int(state["height"]), int(state["width"]), str(state["resize"]))

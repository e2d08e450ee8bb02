"""Windows of a text that ask for every token once, each told from some that stand before it. NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
FRESH = 4
"""Of a window that is scored, one part in so many is only read: every token is told from some that stand before it."""


@dataclass(frozen=True)
class Asked:
    """Windows in order.

    Attributes:
        first: int64 [window], places of the first tokens that are asked for.
        text: int32 [window, length], what is read.
        following: int32 [window, length], the token that comes next, or `padding` where nothing is asked.
    """

    first: Array
    text: Array
    following: Array

    def __len__(self) -> int:
        return len(self.first)

    def at(self, part: slice) -> Asked:
        """Some of them."""
        return Asked(self.first[part], self.text[part], self.following[part])


def asked(tokens: Array, length: int, padding: int = 0) -> Asked:
    """Windows of `length` tokens that ask for every token but the first once.

    A window overlaps the one before it by what is only read.
    """
    wanted = len(tokens) - 1
    first = np.arange(0, wanted, max(1, length - length // FRESH))
    begin = np.maximum(0, np.minimum(first - length // FRESH, wanted - length))
    places = begin[:, None] + np.arange(length)
    inside = places < wanted
    safe = np.where(inside, places, 0)
    end = np.append(first[1:], wanted)
    here = inside & (places >= first[:, None]) & (places < end[:, None])
    # What stands after the end is not looked at, but must be a token.
    text = np.where(inside, tokens[safe], 0)
    following = np.where(here, tokens[np.where(inside, places + 1, 0)], padding)
    return Asked(first, text.astype(np.int32), following.astype(np.int32))

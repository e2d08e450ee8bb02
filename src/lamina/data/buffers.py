"""Memory for arrays that come again and again: a batch of pictures is gathered into that of an earlier batch."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
LEAST = 2**20
"""Bytes below which the C library's own memory is as quick."""
MOST = 4
"""Arrays of one name that memory is kept for: one that is filled, two that wait, one that is in use."""


class Buffers:
    """Memory that is handed out again once nobody holds anything that lies in it.

    Arrays and tensors that lie in some memory hold a reference to it, however they were made of each other, so who
    keeps a batch keeps it whole: new memory is taken then. Several threads may ask.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[Array]] = {}
        self._lock = Lock()

    def room(self, name: str, shape: Sequence[int], dtype: np.dtype[Any]) -> Array | None:
        """An array of any content for what is called `name`; None where it is so small that none is kept."""
        size = math.prod(shape) * dtype.itemsize
        if size < LEAST:
            return None
        with self._lock:
            kept = self._kept.setdefault(name, [])
            free = [place for place in range(len(kept)) if _held(kept, place) == FREE]
            fitting = [place for place in free if kept[place].nbytes >= size]
            if fitting:
                memory = kept[fitting[0]]
            else:
                for place in reversed(free):
                    del kept[place]
                memory = np.empty(size, np.uint8)
                if len(kept) < MOST:
                    kept.append(memory)
            return memory[:size].view(dtype).reshape(shape)


def _held(kept: list[Array], place: int) -> int:
    return sys.getrefcount(kept[place])


FREE = _held([np.empty(1, np.uint8)], 0)
"""References to memory that only the list of it holds, as they are counted here."""

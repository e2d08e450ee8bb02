"""Two networks against each other: one makes pictures from noise, one tells them from real ones."""

from __future__ import annotations

import math


def growth(height: int, width: int, least: float) -> tuple[tuple[int, int], int]:
    """(The size of the smallest map, how often it is doubled) for pictures of this size.

    >>> growth(28, 28, 5)
    ((7, 7), 2)
    >>> growth(64, 48, 5)
    ((8, 6), 3)
    """
    doublings = max(0, math.floor(math.log2(max(height, width) / least)))
    while doublings and min(height, width) / 2**doublings < 1:
        doublings -= 1
    return (math.ceil(height / 2**doublings), math.ceil(width / 2**doublings)), doublings

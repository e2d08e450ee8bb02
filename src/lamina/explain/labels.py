"""Texts cut to the room that a chart or a line has for them."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from unicodedata import combining, east_asian_width


def breadth(text: str) -> int:
    """How many letters of the Latin script are as wide: two for each one of Chinese, Japanese or Korean.

    >>> breadth("red"), breadth("红色")
    (3, 4)
    """
    return sum(map(_breadth, text))


def shortened(text: str, length: int) -> str:
    """The text on one line, cut with an ellipsis where it is broader than `length`.

    >>> shortened("a long name", 7), shortened("很长的名字", 7)
    ('a long…', '很长的…')
    """
    text = " ".join(text.split())
    ends = list(accumulate(map(_breadth, text)))
    return text if not ends or ends[-1] <= length else text[: bisect_right(ends, length - 1)].rstrip() + "…"


def _breadth(letter: str) -> int:
    return 0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1

"""How much of what was made stands literally in what was learned from? Strings of a fixed length, all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

LENGTH = 50
"""Bytes of a string that counts as learned by heart, as in Carlini et al. 2023 ("Quantifying memorization across neural
language models", who count 50 tokens)."""
BLOCK = 4 << 20
_BASE = np.uint64(1_099_511_628_211)


def share_in(made: Sequence[bytes], known: bytes, length: int = LENGTH) -> tuple[float, int]:
    """(Share of all strings of `length` bytes in `made` that are in `known`, how many strings); NaN of none.

    >>> share_in([b"abcdef"], b"xxabcdyy", length=4)
    (0.3333333333333333, 3)
    """
    strings = [text[place : place + length] for text in made for place in range(len(text) - length + 1)]
    if not strings:
        return float("nan"), 0
    wanted = np.concatenate([_hashes(text, length) for text in made])
    found = np.zeros(len(wanted), bool)
    for start in range(0, max(len(known) - length + 1, 0), BLOCK):
        # Blocks overlap, so that no string is cut in two; memory stays flat however much is known.
        found |= np.isin(wanted, _hashes(known[start : start + BLOCK + length - 1], length))
    # Two strings may share a hash: what looks known is looked for.
    right = sum(strings[place] in known for place in np.flatnonzero(found).tolist())
    return right / len(strings), len(strings)


def _hashes(text: bytes, length: int) -> Array:
    """uint64 of every string of `length` bytes: a polynomial in its bytes (Karp & Rabin 1987)."""
    values = np.frombuffer(text, np.uint8).astype(np.uint64)
    count = max(len(values) - length + 1, 0)
    found = np.zeros(count, np.uint64)
    for place in range(length):
        found = found * _BASE + values[place : place + count]
    return found

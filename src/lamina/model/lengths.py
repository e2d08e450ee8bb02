"""Batches of rows of similar length, without the padding that all of them share: short texts cost what they are.

NumPy only: the sealed model runs this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lamina.modalities import token_lengths

Array = np.ndarray[Any, Any]

LEAST = 8
"""Tokens that a batch keeps at least; n-grams and filters need some."""
ROWS = 64
"""Rows of a batch where lengths differ: enough to keep the cores busy, few enough to be of one length."""


def batches(
    encoded: Mapping[str, Array], free: Mapping[str, int], size: int
) -> Iterator[tuple[Array, dict[str, Array]]]:
    """(Row numbers, their arrays), at most `size` rows at a time, every row once.

    Args:
        encoded: arrays by field, [row, ...].
        free: the fields of tokens that may be cut to any length from LEAST on, and their padding.
    """
    rows = len(next(iter(encoded.values())))
    found = {name: token_lengths(encoded[name], padding) for name, padding in free.items()}
    order = np.arange(rows)
    if found:
        order = np.argsort(np.sum(list(found.values()), axis=0), kind="stable")
        size = min(size, ROWS)
    for start in range(0, rows, size):
        part = order[start : start + size]
        arrays = {name: array[part] for name, array in encoded.items()}
        for name, length in found.items():
            arrays[name] = arrays[name][:, : max(LEAST, int(length[part].max()))]
        yield part, arrays

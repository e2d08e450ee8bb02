"""What needs no network: counts of tokens, n-grams, and a general compressor, all in bits for each byte of the text."""

from __future__ import annotations

import lzma
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.steps.written.corpus import Corpus
from lamina.steps.written.kneser_ney import USUAL_ORDER, KneserNey

Array = np.ndarray[Any, Any]

MOST_COUNTED = 10_000_000
"""Training tokens whose n-grams are counted, the last ones."""
MOST_PACKED = 1_000_000
"""Bytes that the compressor sees, of the training text the last and of the test text the first: it is slow."""


@dataclass(frozen=True)
class Counted:
    """What one of them says of the test part.

    Attributes:
        bits: for each byte.
        nats: float64 [token - 1], of every token but the first; None where it does not tell tokens apart.
        note: what was simplified, or what kind of figure it is.
    """

    name: str
    bits: float
    nats: Array | None
    seconds: float
    note: str = ""


def count(train: Array, test: Array, sizes: Array, corpus: Corpus) -> tuple[Counted, ...]:
    """All of them, fitted on the training part.

    Args:
        train, test: int32 [token].
        sizes: int64 [token], bytes that each stands for.
    """
    total = int(sizes[test].sum())
    used = train[-MOST_COUNTED:]
    note = f"counted on {len(used):,} of {len(train):,} tokens" if len(used) < len(train) else ""
    found = []
    for order, name in ((1, "token counts"), (USUAL_ORDER, f"{USUAL_ORDER}-grams (Kneser-Ney)")):
        begin = time.monotonic()
        nats = -np.log(KneserNey.fit(used, len(sizes), order).chances(test)[1:])
        bits = float(nats.sum()) / math.log(2) / max(total, 1)
        found.append(Counted(name, bits, nats, time.monotonic() - begin, note))
    return (*found, packed("".join(corpus.train).encode(), "".join(corpus.test).encode()))


def packed(train: bytes, test: bytes) -> Counted:
    """What xz needs for the test text when it has seen the end of the training text before."""
    begin, seen, told = time.monotonic(), train[-MOST_PACKED:], test[:MOST_PACKED]
    alone, both = (len(lzma.compress(content)) for content in (seen, seen + told))
    bits = 8 * (both - alone) / max(len(told), 1)
    note = f"a general compressor, that has seen {len(seen):,} bytes of training text: a measure of how regular it is"
    return Counted("xz", bits, None, time.monotonic() - begin, note)

"""Tokenizers for texts that are written, trained on them: all bytes come back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lamina.modalities import _tokens
from lamina.modalities.text import LARGEST_VOCABULARY, TRAINING_CHARACTERS
from lamina.tasks._streams import pieces

Array = np.ndarray[Any, Any]

COVERED = 0.98
"""Share of the texts that are kept whole."""


def usual_vocabulary(size: int) -> int:
    """As many tokens as suit so many bytes of text: about their square root, a power of two.

    >>> usual_vocabulary(4_200_000)
    2048
    """
    power = 2 ** round(math.log2(math.sqrt(max(size, 1))))
    return int(min(max(power, _tokens.SMALLEST_VOCABULARY), LARGEST_VOCABULARY))


def trained(texts: Iterable[str], vocabulary: int) -> str:
    """JSON of a tokenizer trained on texts (`lamina.modalities._tokens.train`, exact), of at most 100 million
    characters of them."""
    return _tokens.train(_limited(piece for one in texts for piece in pieces(one)), vocabulary, False, exact=True)


def usual_length(counts: Sequence[int] | Array, longest: int) -> int:
    """Tokens of a text that are kept, a multiple of 8: nearly all texts whole; time for the longest would serve few.

    Args:
        counts: tokens of each text.
        longest: at most.
    """
    covered = float(np.quantile(counts, COVERED))
    return int(max(8, min(longest, 8 * -(-covered // 8))))


def _limited(parts: Iterable[str]) -> Iterator[str]:
    left = TRAINING_CHARACTERS
    for part in parts:
        if left <= 0:
            return
        yield part
        left -= len(part)

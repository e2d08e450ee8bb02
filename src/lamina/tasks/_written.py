"""What tasks that write share: their tokens, and the texts that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.modalities import _tokens
from lamina.modalities._canonical import object_array

Array = np.ndarray[Any, Any]

BOUNDARY = _tokens.START
"""The token that stands before a text and ends it."""
LONGEST = 8192
"""Tokens of a context at most."""
MOST_BEAMS = 32
LARGEST_VOCABULARY = 1 << 22
"""Tokens of a given model at most."""


def texts_of(tokenizer: Any, output: Array) -> Values:
    """Texts from tokens [row, width], padded with 0; what stands for no text is left out."""
    first = len(_tokens.SPECIALS)
    most = int(tokenizer.get_vocab_size())
    rows = [[int(token) for token in row if first <= token < most] for row in np.asarray(output)]
    return object_array(tokenizer.decode_batch(rows))


def check_token(name: str, value: int, size: int) -> int:
    """Raises ValueError where a token that a sealed file names is none of those that there are."""
    if not 0 <= value < size:
        raise ValueError(f"{name} of number {value}")
    return value


def check_size(name: str, value: int, most: int) -> int:
    """Raises ValueError where a size that a sealed file names is out of range."""
    if not 1 <= value <= most:
        raise ValueError(f"{name} of {value}")
    return value

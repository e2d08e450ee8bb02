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


def texts_of(tokenizer: Any, output: Array) -> Values:
    """Texts from tokens [row, width], padded with 0; what stands for no text is left out."""
    first = len(_tokens.SPECIALS)
    most = int(tokenizer.get_vocab_size())
    rows = [[int(token) for token in row if first <= token < most] for row in np.asarray(output)]
    return object_array(tokenizer.decode_batch(rows))


def check_size(name: str, value: int, most: int) -> int:
    """Raises ValueError where a size that a sealed file names is out of range."""
    if not 1 <= value <= most:
        raise ValueError(f"{name} of {value}")
    return value

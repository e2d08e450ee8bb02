"""From texts to one stream of tokens, all of whose bytes come back, and to the sizes that figures are divided by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from lamina.modalities import _tokens
from lamina.modalities._given_tokens import GivenTokens
from lamina.tasks._written import BOUNDARY

Array = np.ndarray[Any, Any]

PIECE = 20_000
"""Characters that are tokenised at a time: one long text takes far longer than its parts."""


def pieces(text: str) -> Iterator[str]:
    """A text in parts of about `PIECE` characters, cut before a space or an end of line where there is one."""
    start = 0
    while start < len(text):
        end = start + PIECE
        if end < len(text):
            end = max(text.rfind("\n", start + 1, end), text.rfind(" ", start + 1, end), start + 1)
            end = end if end > start + 1 else start + PIECE
        yield text[start:end]
        start = end


def stream(tokenizer: Any, texts: Iterable[str], start: int = BOUNDARY, end: int = BOUNDARY) -> Array:
    """int32 [token]: all texts, one after the other, with a boundary before each.

    Args:
        tokenizer: Lamina's own, or a given one (`lamina.modalities._given_tokens`).
        start, end: of a text; where they are one token, it is the boundary.

    Raises:
        InputError: a given tokenizer does not give back a text.
    """
    found: list[Array] = []
    for one in texts:
        found.append(np.array([start], np.int32))
        found += [np.array(ids, np.int32) for ids in _encoded(tokenizer, list(pieces(one)))]
        if end != start:
            found.append(np.array([end], np.int32))
    return np.concatenate(found) if found else np.zeros(0, np.int32)


def _encoded(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    if isinstance(tokenizer, GivenTokens):
        return tokenizer.encode(texts)
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def bytes_of_tokens(tokenizer: Any) -> Array:
    """int64 [token]: how many bytes of text each stands for; 0 for those that stand for none."""
    if isinstance(tokenizer, GivenTokens):
        return np.array([len(piece) for piece in tokenizer.pieces], np.int64)
    sizes = np.zeros(int(tokenizer.get_vocab_size()), np.int64)
    for token, number in tokenizer.get_vocab().items():
        # In the byte-level alphabet every byte is one letter.
        sizes[number] = 0 if number < len(_tokens.SPECIALS) else len(token)
    return sizes

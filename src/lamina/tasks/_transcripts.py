"""What was said as text: brought to one spelling, so that only what can be heard is learned and scored."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._canonical import object_array
from lamina.modalities._files import is_missing

Array = np.ndarray[Any, Any]

APOSTROPHES = "'\u2019\u02bc\u2018"
UNKNOWN = "\ufffd"
"""Stands for a character that no training text holds: it counts as wrong wherever it is."""


def normalised(value: Any, case: str = "lower", punctuation: str = "drop") -> str:
    """A transcript as it is learned and scored.

    Composed characters (Unicode NFC), one space between words; lower case unless `case` is "keep". Letters, marks and
    digits stay as they are written: "3" is not spelled out, as how it was said is not known. With `punctuation`
    "drop" all else divides words, but for apostrophes within them.

    Example:
        >>> normalised(" It’s LC-10, isn't it?")
        "it's lc 10 isn't it"
    """
    if is_missing(value):
        return ""
    text = unicodedata.normalize("NFC", str(value))
    text = text.lower() if case == "lower" else text
    if punctuation == "drop":
        text = "".join(_kept(text, place) for place in range(len(text)))
    return " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())


def _kept(text: str, place: int) -> str:
    letter = text[place]
    kind = unicodedata.category(letter)
    if kind[0] in "LMN":
        return letter
    if kind == "Cf":
        # Soft hyphens and joiners are not seen, and stand within words.
        return ""
    around = text[place - 1 : place] + text[place + 1 : place + 2]
    return "'" if letter in APOSTROPHES and len(around) == 2 and around.isalnum() else " "


def as_symbols(texts: Sequence[str], characters: str, longest: int) -> Array:
    """int32 [row, longest]: 1 for the first of `characters`, one more than there are for others; -1 after the end."""
    number = {character: place for place, character in enumerate(characters, 1)}
    array = np.full((len(texts), longest), -1, dtype=np.int32)
    for row, text in enumerate(texts):
        found = [number.get(character, len(characters) + 1) for character in text[:longest]]
        array[row, : len(found)] = found
    return array


def as_texts(symbols: Sequence[Sequence[int]], characters: str) -> Values:
    """The inverse of `as_symbols`, from sequences of any lengths without blanks; what is negative is left out."""
    known = characters + UNKNOWN
    return object_array("".join(known[symbol - 1] for symbol in row if symbol > 0) for row in symbols)

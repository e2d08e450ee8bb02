"""What is to be seen? The answer is a text for each picture; learned from pictures with captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.data.texts import of_value
from lamina.errors import InputError
from lamina.modalities import Chunks, Encoded, Recognition, _tokens
from lamina.tasks import _tokenizer
from lamina.tasks._options import check_names
from lamina.tasks._written import BOUNDARY, OPTIONS, TextAnswer, check_search

Array = np.ndarray[Any, Any]

LATER = "captioned"
READS = ("image",)
SEVERAL = True
"""A picture may have a row for each of several captions."""
RICHER = 8
"""How many times as many tokens as other texts of their size captions have: few say much, so words are to be whole."""
USUAL, LARGE = 96, 128
"""Pixels of the longer side of usual pictures that are encoded, at most, and of those that a caption is written of."""
STEP = 16
LONGEST = 64
"""Tokens of a caption that are kept, unless asked for more."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """A column of texts is more often a reason than an answer: the task has to be asked for."""
    return None


def check_options(options: Mapping[str, Json], target: str) -> None:
    """Raises InputError for an unknown option, or one that is of the wrong kind or out of range."""
    check_names(options, OPTIONS, target)
    check_search(options, target)


def picture_size(captions: Mapping[str, Json], pictures: Mapping[str, Json]) -> tuple[tuple[int, int], str] | None:
    """Height and width that pictures should be encoded in, and why; None where they are small or nothing is known.

    Args:
        captions, pictures: what the modalities' `describe` says of the training rows.
    """
    if not pictures.get("width"):
        return None
    height, width = pictures["height"]["median"], pictures["width"]["median"]
    if max(height, width) <= USUAL:
        return None
    scale = LARGE / max(height, width)
    size = tuple(max(STEP, STEP * round(scale * side / STEP)) for side in (height, width))
    return (size[0], size[1]), f"{size[1]} x {size[0]} pixels: a caption tells of several things in a picture"


@dataclass(frozen=True)
class Task(TextAnswer):
    """A text for each picture.

    Encoded targets are int32 [row, width + 1]: the boundary, the caption's tokens, and the boundary again, padded with
    0. A caption that is longer than is written has no end.
    """

    task: ClassVar[str] = "caption"
    reads: ClassVar[str] = "image"

    @classmethod
    def fit(cls, field: Field, chunks: Chunks, options: Mapping[str, Json]) -> Self:
        """Learn a tokenizer and the usual length from the training captions.

        Raises:
            InputError: there is no caption, or an option is wrong.
        """
        check_options(options, field.name)
        texts = [text for values in chunks() for value in values if (text := _caption(value)[0])]
        if not texts:
            raise InputError(
                "There is not one caption to learn from.", where=f"column {field.name}", fix="Fill in some captions."
            )
        size = sum(len(text.encode()) for text in texts)
        usual = _tokenizer.usual_vocabulary(RICHER**2 * size)
        json = _tokenizer.trained(texts, int(options.get("vocabulary", usual)))
        counts = [len(encoding.ids) for encoding in _encoded(_tokens.load(json), texts)]
        length = int(options.get("length", _tokenizer.usual_length(counts, LONGEST)))
        beams, penalty = int(options.get("beams", cls.beams)), float(options.get("penalty", cls.penalty))
        return cls(field.name, json, length + 1, beams, penalty)

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """Captions as tokens; a missing one is an error of its row."""
        found, errors = np.zeros((len(values), self.width + 1), np.int32), dict[int, str]()
        texts = list[str]()
        for row, value in enumerate(values):
            text, reason = _caption(value)
            texts.append(text)
            if reason:
                errors[row] = reason
        for row, encoding in enumerate(_encoded(self.tokens, texts)):
            ids = [BOUNDARY, *encoding.ids, BOUNDARY][: self.width + 1]
            found[row, : len(ids)] = ids
        return Encoded(found, errors)


def _caption(value: object) -> tuple[str, str]:
    """(Caption without what stands around it, or the reason for there being none)."""
    text, reason = of_value(value)
    return text.strip(), reason


def _encoded(tokenizer: Any, texts: list[str]) -> Any:
    return tokenizer.encode_batch_fast(texts, add_special_tokens=False)

"""What tasks that write share: their tokens, the texts that they stand for, and answers about what is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Json, Values
from lamina.errors import InputError
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


OPTIONS = ("beams", "penalty", "vocabulary", "length")
"""Of a task that answers what it reads with a text."""


def check_search(options: Mapping[str, Json], target: str) -> None:
    """Raises InputError for one of `OPTIONS` that is of the wrong kind or out of range."""
    for name, least, most in (("beams", 1, MOST_BEAMS), ("vocabulary", 300, 200_000), ("length", 8, 1024)):
        given = options.get(name, least)
        if type(given) is not int or not least <= given <= most:
            raise InputError(
                f"The option {name!r} is {given!r}.",
                where=f"task.{target}.options.{name}",
                fix=f"Give a whole number from {least:,} to {most:,}.",
            )
    penalty = options.get("penalty", 1.0)
    if isinstance(penalty, bool) or not isinstance(penalty, int | float) or not 0 <= penalty <= 5:
        raise InputError(
            f"The option 'penalty' is {penalty!r}.",
            where=f"task.{target}.options.penalty",
            fix="Give a number from 0 to 5: the higher, the longer the texts.",
        )


@dataclass(frozen=True)
class TextAnswer:
    """A text for what is read; outputs are tokens [row, width], padded with 0.

    Attributes:
        name: the target column.
        tokenizer: JSON, as of `lamina.modalities.text`.
        width: tokens of a text at most, its end among them.
        beams: beginnings that the search keeps.
        penalty: how much longer texts are preferred (`lamina.model.decoding.beam_search`).
    """

    start: ClassVar[int] = BOUNDARY
    end: ClassVar[int] = BOUNDARY
    padding: ClassVar[int] = _tokens.PADDING

    name: str
    tokenizer: str = field(repr=False)
    width: int = 64
    beams: int = 4
    penalty: float = 1.0

    @property
    def context(self) -> int:
        """Tokens that the network sees at most of what it writes."""
        return self.width

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": the text}."""
        return {"": texts_of(self.tokens, output)}

    @cached_property
    def tokens(self) -> Any:
        """The tokenizer at work."""
        return _tokens.load(self.tokenizer)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        width = check_size("texts", int(state["width"]), LONGEST)
        beams = check_size("beams", int(state["beams"]), MOST_BEAMS)
        penalty = float(state["penalty"])
        if not math.isfinite(penalty):
            raise ValueError(f"a penalty of {penalty}")
        return cls(str(state["name"]), str(state["tokenizer"]), width, beams, penalty)


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

"""What is it in the other language? The answer is a text for each text; learned from pairs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition, _tokens
from lamina.tasks._options import check_names
from lamina.tasks._written import BOUNDARY, LONGEST, MOST_BEAMS, check_size, texts_of

Array = np.ndarray[Any, Any]

WAY = "written"
"""All five steps are in `lamina/steps/written/`: the rows are read in a way of their own."""
OPTIONS = ("beams", "penalty", "vocabulary", "length")


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """A column of texts is more often a reason than an answer: the task has to be asked for."""
    return None


def check_options(options: Mapping[str, Json], target: str) -> None:
    """Raises InputError for an unknown option, or one that is of the wrong kind or out of range."""
    check_names(options, OPTIONS, target)
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
class Task:
    """A text for each text; outputs are tokens [row, width], padded with 0.

    Attributes:
        name: the target column.
        tokenizer: JSON, as of `lamina.modalities.text`.
        width: tokens of a text at most, its end among them.
        beams: beginnings that the search keeps.
        penalty: how much longer texts are preferred (`lamina.model.decoding.beam_search`).
    """

    task: ClassVar[str] = "translate"
    reads: ClassVar[bool] = True
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

"""How might a text go on? The answer is more text; learned from texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition, _tokens
from lamina.tasks._options import check_names
from lamina.tasks._written import LONGEST, check_size, texts_of

Array = np.ndarray[Any, Any]

WAY = "written"
"""All five steps are in `lamina/steps/written/`: the rows are read in a way of their own."""
UNLABELLED = "continuation"
"""The task needs no target: what comes next in a text is in the text. Its answer is called so."""
OPTIONS = ("column", "context", "vocabulary", "tokens")


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an unknown option, or one that is of the wrong kind or out of range."""
    check_names(options, OPTIONS, UNLABELLED)
    for name, least, most in (("context", 16, LONGEST), ("vocabulary", 300, 200_000), ("tokens", 1, LONGEST)):
        given = options.get(name, least)
        if type(given) is not int or not least <= given <= most:
            raise InputError(
                f"The option {name!r} is {given!r}.",
                where=f"task.options.{name}",
                fix=f"Give a whole number from {least:,} to {most:,}.",
            )
    if not isinstance(options.get("column", ""), str):
        raise InputError(
            f"The option 'column' is {options['column']!r}.",
            where="task.options.column",
            fix="Give the name of the column of texts.",
        )


@dataclass(frozen=True)
class Task:
    """A text that goes on from a prompt; outputs are tokens [row, width], padded with 0.

    Attributes:
        name: the answer's name.
        tokenizer: JSON, as of `lamina.modalities.text`.
        context: tokens that the network sees at most.
        width: tokens that are written for a row, at most.
    """

    task: ClassVar[str] = "write"
    reads: ClassVar[bool] = False
    beams: ClassVar[int] = 1
    penalty: ClassVar[float] = 0.0

    name: str
    tokenizer: str = field(repr=False)
    context: int = 256
    width: int = 64

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": what is written}."""
        return {"": texts_of(self.tokens, output)}

    @cached_property
    def tokens(self) -> Any:
        """The tokenizer at work."""
        return _tokens.load(self.tokenizer)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        context = check_size("a context", int(state["context"]), LONGEST)
        width = check_size("texts", int(state["width"]), LONGEST)
        return cls(str(state["name"]), str(state["tokenizer"]), context, width)

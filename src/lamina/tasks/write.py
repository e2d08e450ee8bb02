"""How might a text go on? The answer is more text; learned from texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition, _tokens
from lamina.modalities._canonical import object_array
from lamina.modalities._given_tokens import NO_TOKEN, GivenTokens
from lamina.tasks._options import check_names
from lamina.tasks._written import BOUNDARY, LARGEST_VOCABULARY, LONGEST, check_size, check_token, texts_of

Array = np.ndarray[Any, Any]

WAY = "written"
"""All five steps are in `lamina/steps/written/`: the rows are read in a way of their own."""
UNLABELLED = "continuation"
"""The task needs no target: what comes next in a text is in the text. Its answer is called so."""
PROMPT = "prompt"
"""The sealed model's input where files hold the texts; of a table it is the column."""
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
    """A text that goes on from a prompt; outputs are tokens [row, width], padded with `padding`.

    Attributes:
        name: the answer's name.
        tokenizer: JSON, as of `lamina.modalities.text`, or of a given model as of `lamina.modalities._given_tokens`.
        context: tokens that the network sees at most.
        width: tokens that are written for a row, at most.
        start, end: the tokens that stand before a text and that end it.
        size: tokens that a given model knows; 0 where the tokenizer is Lamina's own.
        speakers: of conversations, who begins and who answers; () of other texts.
    """

    task: ClassVar[str] = "write"
    reads: ClassVar[str] = ""
    beams: ClassVar[int] = 1
    penalty: ClassVar[float] = 0.0

    name: str
    tokenizer: str = field(repr=False)
    context: int = 256
    width: int = 64
    start: int = BOUNDARY
    end: int = BOUNDARY
    size: int = 0
    speakers: tuple[str, ...] = ()

    @property
    def padding(self) -> int:
        """What stands where there is no token."""
        return NO_TOKEN if self.size else _tokens.PADDING

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": what is written}."""
        if not self.size:
            return {"": texts_of(self.tokens, output)}
        return {"": object_array([self.tokens.decode(map(int, row)) for row in np.asarray(output)])}

    @cached_property
    def tokens(self) -> Any:
        """The tokenizer at work."""
        return GivenTokens(self.tokenizer, self.size) if self.size else _tokens.load(self.tokenizer)

    def state(self) -> dict[str, Json]:
        known = asdict(self)
        names = list(known) if self.size else ["name", "tokenizer", "context", "width", "speakers"]
        if not self.speakers:
            names.remove("speakers")
        return {name: known[name] for name in names}

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        context = check_size("a context", int(state["context"]), LONGEST)
        width = check_size("texts", int(state["width"]), LONGEST)
        own = cls(str(state["name"]), str(state["tokenizer"]), context, width, speakers=_two(state.get("speakers", ())))
        if "size" not in state:
            return own
        size = check_size("a vocabulary", int(state["size"]), LARGEST_VOCABULARY)
        start, end = (check_token(f"the token {name!r}", int(state[name]), size) for name in ("start", "end"))
        return replace(own, start=start, end=end, size=size)


def _two(names: Json) -> tuple[str, ...]:
    """The speakers that a sealed file names: none, or two.

    Raises:
        ValueError: it names others.
    """
    found = tuple(map(str, names))
    if len(found) not in (0, 2) or any(not name or ":" in name or "\n" in name for name in found):
        raise ValueError(f"the speakers {found!r}")
    return found

"""Translations of texts that are longer than a network reads: sentence by sentence, joined again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lamina.data.schema import Values
from lamina.modalities._files import Unreadable, objects
from lamina.modalities.text import Encoder, as_text
from lamina.model.answers import Part
from lamina.tasks import Answering

if TYPE_CHECKING:
    from lamina.model.rows import Rows
    from lamina.model.runtime import Model
    from lamina.model.writer import Writer

Array = np.ndarray[Any, Any]

FILLED = 0.5
"""Share of the tokens that are read at most that short sentences together fill: few texts of training are as long."""
SHOWN = 40
_ENDS = re.compile(r"""[.!?…؟।]+["'”’»)\]]*\s+|[。！？]+["'”’」』）]*\s*|\s*\n\s*\n\s*""")
_SPACELESS = re.compile("[\u2e80-\uffef]$")
"""An end in a script that puts no spaces between sentences."""


@dataclass(frozen=True)
class Piece:
    """A part of a text, and what stands between it and the next."""

    text: str
    gap: str


def sentences(text: str) -> list[Piece]:
    """A text cut after each of its sentences; a full stop before a small letter ends none.

    >>> [piece.text for piece in sentences("He left, e.g. by train. Why? 好。行。")]
    ['He left, e.g. by train.', 'Why?', '好。', '行。']
    """
    found, start = list[Piece](), 0
    for end in _ENDS.finditer(text):
        if text[end.end() : end.end() + 1].islower() and "\n" not in end.group() and end.group()[0] == ".":
            continue
        whole = text[start : end.end()]
        found.append(Piece(whole.rstrip(), whole[len(whole.rstrip()) :]))
        start = end.end()
    if start < len(text):
        found.append(Piece(text[start:], ""))
    return found


def pieces(text: str, encoder: Encoder) -> list[Piece]:
    """A text in parts of whole sentences that the encoder reads whole.

    Raises:
        Unreadable: one sentence is longer than that.
    """
    several = sentences(text)
    counts = encoder.counts([piece.text for piece in several])
    together, used = list[Piece](), 0
    for piece, tokens in zip(several, counts, strict=True):
        if tokens > encoder.length:
            raise Unreadable(
                f"a sentence of {tokens:,} tokens is too long, at most {encoder.length:,} are read: "
                f"{piece.text[:SHOWN]!r}..."
            )
        # Paragraphs stay apart, whatever the network makes of empty lines.
        if together and "\n" not in together[-1].gap and used + tokens <= FILLED * encoder.length:
            last = together.pop()
            piece, used = Piece(last.text + last.gap + piece.text, piece.gap), used + tokens
        else:
            used = tokens
        together.append(piece)
    return together


def translated(writer: Writer, encoder: Encoder, values: Sequence[Any] | Values) -> tuple[Values, dict[int, str]]:
    """object [row] of str: a translation of every text, and the reason for each row that has none, which is "".

    A text that is longer than the encoder reads is translated in parts. A model that cuts texts does so still.
    """
    errors, parts = dict[int, str](), list[tuple[int, Any, str]]()
    texts = []
    for row, value in enumerate(values):
        try:
            texts.append((as_text(value) or "").strip())
        except Unreadable as error:
            texts.append("")
            errors[row] = str(error)
    counts = encoder.counts(texts) if encoder.cut == "nothing" else [0] * len(texts)
    for row, (text, tokens) in enumerate(zip(texts, counts, strict=True)):
        if row in errors:
            continue
        if tokens <= encoder.length:
            parts.append((row, text.encode(), ""))
            continue
        try:
            # As bytes: a part such as 12.10 is no number.
            parts += [(row, piece.text.encode(), piece.gap) for piece in pieces(text, encoder)]
        except Unreadable as error:
            errors[row] = str(error)
    encoded = encoder.encode(objects([text for _, text, _ in parts])).array
    found = cast(Answering, writer.task).decode(writer.outputs(encoded))[""]
    answers, between = [""] * len(texts), dict[int, str]()
    for (row, _, gap), text in zip(parts, found, strict=True):
        answers[row] += between.get(row, "") + text
        between[row] = gap or ("" if _SPACELESS.search(text) else " ")
    return objects(answers), errors


def answered(model: Model, rows: Rows) -> Iterator[Part]:
    """Chunk after chunk of what a model that translates answers."""
    ((name, item),), (target,), writer = model.inputs.items(), model.tasks, model.writer
    assert writer is not None
    assert isinstance(item.encoder, Encoder)
    for chunk in rows:
        found, wrong = translated(writer, item.encoder, item.field.values(chunk.values))
        errors = {row: f"{name}: {reason}" for row, reason in wrong.items()} | dict(chunk.errors)
        yield Part(len(chunk), {target: found}, dict(sorted(errors.items())), chunk.values.get("path"))

"""Scores of a sealed model that writes: in how few bits it tells texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.data.tables import ChunkReader, read_chunks
from lamina.data.texts import SAMPLE, content, decoded, of_value, sure_columns, text_files
from lamina.errors import InputError, nearest
from lamina.evaluate.bits import BITS, MOST_TOLD, PERPLEXITY, bits_per_byte, blocks_of, perplexity
from lamina.evaluate.scored import Scored
from lamina.learn.asked import asked
from lamina.model.write import task_of
from lamina.model.writer import Writer
from lamina.tasks._streams import bytes_of_tokens, stream
from lamina.tasks.write import PROMPT

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]
BYTES, TEXTS = "bytes", "texts"


def score(model: Model, data: Any, seed: int) -> Scored:
    """Bits per byte and perplexity with intervals over blocks: the figures of the fifth step of training for the text.

    Every token is told once, from windows of the model's context that begin with some that are only read; of a longer
    text the first `MOST_TOLD` tokens are. What is counted are bytes.

    Args:
        data: a text file, a folder of .txt files, or a table with the column of texts; files and rows without a text
            count as errors.

    Raises:
        InputError: there is no text, or no column of texts.
    """
    task, _ = task_of(model)
    texts, lacking = _texts(model, data)
    assert model.writer is not None
    tokens, sizes = stream(task.tokens, texts, task.start, task.end), bytes_of_tokens(task.tokens)
    given, tokens = int(sizes[tokens].sum()), tokens[:MOST_TOLD]
    told = int(sizes[tokens].sum())
    blocks = blocks_of(sizes[tokens[1:]])
    nats, weights = _nats(model.writer, tokens), blocks.drawn(seed)
    scores = {BITS: bits_per_byte(blocks, nats, weights)[0], PERPLEXITY: perplexity(blocks, nats, weights)}
    return Scored(told, lacking, {task.name: scores}, BYTES, TEXTS, given if given > told else 0)


def _nats(writer: Writer, tokens: Array) -> Array:
    """float64 [token - 1]: what every token but the first costs."""
    length, padding = writer.task.context, writer.task.padding
    windows, found = asked(tokens, length, padding), []
    for start in range(0, len(windows), rows := writer.rows_at_once(length)):
        some = windows.at(slice(start, start + rows))
        found.append(writer.nats(some.text, some.following)[some.following != padding])
    return np.concatenate(found)


def _texts(model: Model, data: Any) -> tuple[list[str], int]:
    """(The texts, how many files or rows have none)."""
    files = text_files(data)
    if files is not None:
        where, found = str(data), [of_file(file) for file in files[0]]
    else:
        reader = read_chunks(data, SAMPLE)
        column = _column(model, reader)
        where = f"the column {column!r} of {reader.name}"
        found = [of_value(value)[0] for chunk in reader for value in chunk.values[column]]
    texts = [one for one in found if one]
    if not texts:
        raise InputError("There is no text to score.", where=where, fix="Give texts like those it was trained on.")
    return texts, len(found) - len(texts)


def of_file(file: Path) -> str:
    """A file's text, or "" where there are only spaces."""
    text = decoded(content(file), file)
    return text if text.strip() else ""


def _column(model: Model, reader: ChunkReader) -> str:
    """The column of texts: called as the model calls it, or of a model of files the only one that surely holds any."""
    (name,) = model.columns
    if name in reader.columns:
        return name
    sure = []
    if name == PROMPT and (first := next(iter(reader), None)) is not None:
        sure = sure_columns(reader.columns, first.values)
    if len(sure) == 1:
        return sure[0]
    what = f"Several columns hold texts: {', '.join(sure)}" if sure else f"The data has no column {name!r} of texts"
    raise InputError(
        f"{what}.",
        where=reader.name,
        fix=f"Call the column of texts {name!r}, or give a text file or a folder of .txt files. "
        f"{nearest(name, reader.columns)}",
    )

"""Text from a sealed model that writes; NumPy and ONNX Runtime only."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lamina.data.texts import content, decoded, is_text_file, of_value
from lamina.errors import InputError, nearest
from lamina.modalities._files import Unreadable
from lamina.modalities.text import Encoder
from lamina.model.decoding import Pick, drawn
from lamina.model.predict import rows_to_file
from lamina.tasks.write import PROMPT, Task

if TYPE_CHECKING:
    from lamina.model.runtime import Model

MOST_TOKENS = 100_000
LARGEST_TEMPERATURE = 10.0


class Written(NamedTuple):
    """A prompt, what was written on from it, and why nothing was ("" where it was)."""

    prompt: str
    text: str
    error: str


def write(
    model: Model, prompt: str = "", tokens: int = 200, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0
) -> str:
    """What the model writes on from a prompt; the same seed gives the same text.

    Args:
        prompt: "" begins a text.
        tokens: to write at most; the text may end earlier.
        temperature: 0 takes the likeliest token every time; the higher, the bolder.
        top_p: only the likeliest tokens that make up so much of the probability are drawn from.

    Raises:
        InputError: the model does not write, a number is out of range, or the prompt is no text.
    """
    task_of(model)
    check(prompt, tokens, temperature, top_p, seed)
    return write_with(model, prompt, tokens, drawn(temperature, top_p, np.random.default_rng(seed)))


def write_each(
    model: Model,
    prompts: Iterable[object],
    tokens: int = 200,
    temperature: float = 0.8,
    top_p: float = 0.95,
    seed: int = 0,
) -> Iterator[Written]:
    """What the model writes on from each of several prompts, one after the other.

    What is drawn for a prompt depends on the seed and on the prompt's place alone, not on the others; the first is
    written on as `write` does.

    Args:
        prompts: texts; one that is no text, empty, or longer than the model reads has an error in place of a text.
        tokens, temperature, top_p: as of `write`.

    Raises:
        InputError: the model does not write, or a number is out of range.
    """
    _, encoder = task_of(model)
    check("", tokens, temperature, top_p, seed)
    return (
        _one(model, encoder, prompt, tokens, drawn(temperature, top_p, np.random.default_rng((seed, place))))
        for place, prompt in enumerate(prompts)
    )


def write_to_file(
    model: Model,
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] = "-",
    column: str = "",
    *,
    screen: str = ".csv",
    **settings: Any,
) -> dict[str, int]:
    """`write_each` for a file of prompts: rows of "prompt", "text" and "error" in their order; {"rows", "errors"}.

    Args:
        data: a text file with a prompt on each line, or a table.
        out: as of `predict_to_file`: .csv, .tsv, .jsonl, .json, .parquet, or "-" for standard output.
        column: of a table; "" is the one called as the texts that the model learned from, or "prompt", or the only one.
        settings: as of `write_each`.

    Raises:
        InputError: the model does not write, there are no prompts or no such column, a number is out of range, or as of
            `predict_to_file`.
    """
    # What is wrong with the model or the settings is said before a file is read.
    write_each(model, (), **settings)
    prompts = prompts_of(model, data, column)
    first = next(prompts, None)
    if first is None:
        raise InputError(f"{data} holds no prompts.", where=str(data), fix="Give a prompt on each line, or a table.")
    found = write_each(model, chain([first], prompts), **settings)
    return rows_to_file((one._asdict() for one in found), Written._fields, out, data, screen=screen)


def prompts_of(model: Model, data: str | os.PathLike[str], column: str = "") -> Iterator[object]:
    """The prompts of a file, as they are.

    Raises:
        InputError: there is no such file or column, or it cannot be read.
    """
    path = Path(data)
    if is_text_file(path):
        if column:
            raise InputError(
                f"{path.name} is a text, not a table: every line is a prompt, and there is no column {column!r}.",
                where="--column",
                fix="Leave it out, or give a table.",
            )
        lines = decoded(content(path), path).replace("\r\n", "\n").split("\n")
        # What follows the end of the last line is no line.
        return iter(lines if lines[-1] else lines[:-1])
    from lamina.data.tables import read_chunks

    reader = read_chunks(data)
    name = _column(model, reader.columns, column, reader.name)
    return (
        Unreadable(chunk.errors[row]) if row in chunk.errors else value
        for chunk in reader
        for row, value in enumerate(chunk.values[name].tolist())
    )


def _column(model: Model, columns: Sequence[str], asked: str, where: str) -> str:
    """The column of prompts."""
    usual = [name for name in (*model.columns, PROMPT) if name in columns]
    if asked in columns:
        return asked
    if asked:
        raise InputError(f"There is no column {asked!r} of prompts.", where=where, fix=nearest(asked, columns))
    if usual or len(columns) == 1:
        return usual[0] if usual else columns[0]
    raise InputError(
        "It is not said which column holds the prompts.",
        where=where,
        fix=f"Say it with --column NAME. Columns: {', '.join(columns[:30])}",
    )


def _one(model: Model, encoder: Encoder, prompt: object, tokens: int, pick: Pick) -> Written:
    """What is written on from one of several prompts, or why nothing is."""
    if isinstance(prompt, Unreadable):
        return Written("", "", str(prompt))
    # A text stays what it is: what looks like a number may end in a zero.
    text, error = (prompt, "") if isinstance(prompt, str) else of_value(prompt)
    if not error and not text.strip():
        error = "the prompt is empty"
    if not error and not text.isascii() and text != text.encode("utf-8", "replace").decode("utf-8"):
        error = "the prompt is no text in UTF-8"
    if not error and (given := encoder.counts([text])[0]) > encoder.length:
        error = f"the prompt has {given:,} tokens, and the model reads {encoder.length:,} at most: give its end"
    return Written(text, "" if error else write_with(model, text, tokens, pick), error)


def write_with(model: Model, prompt: str, tokens: int, pick: Pick) -> str:
    """What the model writes on from a prompt, by any way to pick tokens."""
    task, encoder = task_of(model)
    # As bytes: of a text that is a number, such as 12.10, a cell of a table would be read as 12.1.
    values = np.array([prompt.encode()], object)
    encoded = encoder.encode(values).array
    start = encoded[:, : max(1, int((encoded != task.padding).sum()))]
    assert model.writer is not None
    found = model.writer.write(start, tokens, pick)
    return str(task.decode(found)[""][0])


def task_of(model: Model) -> tuple[Task, Encoder]:
    """What the model writes, and how it reads a prompt.

    Raises:
        InputError: it does not write.
    """
    for task in model.tasks.values():
        if isinstance(task, Task):
            (item,) = model.inputs.values()
            assert isinstance(item.encoder, Encoder)
            return task, item.encoder
    raise InputError("The model does not write.", where=model.where, fix="Train one: lamina train TEXTS --task write")


def check(prompt: str, tokens: int, temperature: float, top_p: float, seed: int) -> None:
    """Raises InputError for a prompt that is no text, or a number out of range."""
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            "The prompt is no text in UTF-8.", where="--prompt", fix="Give it in UTF-8; see the shell's LANG."
        ) from None
    limits = {
        "--tokens": (1 <= tokens <= MOST_TOKENS, f"Give a whole number from 1 to {MOST_TOKENS:,}."),
        "--temperature": (
            math.isfinite(temperature) and 0 <= temperature <= LARGEST_TEMPERATURE,
            f"Give a number from 0 (the likeliest every time) to {LARGEST_TEMPERATURE:g}.",
        ),
        "--top-p": (0 < top_p <= 1, "Give a number above 0, up to 1 (all tokens)."),
        "--seed": (seed >= 0, "Give a whole number from 0 on."),
    }
    given = {"--tokens": tokens, "--temperature": temperature, "--top-p": top_p, "--seed": seed}
    for option, (right, fix) in limits.items():
        if not right:
            raise InputError(f"{option} is {given[option]}.", where=option, fix=fix)

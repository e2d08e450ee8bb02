"""Text from a sealed model that writes; NumPy and ONNX Runtime only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lamina.errors import InputError
from lamina.modalities.text import Encoder
from lamina.model.decoding import drawn
from lamina.tasks.write import Task

if TYPE_CHECKING:
    from lamina.model.runtime import Model

MOST_TOKENS = 100_000
LARGEST_TEMPERATURE = 10.0


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
    task, encoder = task_of(model)
    _check(prompt, tokens, temperature, top_p, seed)
    # As bytes: of a text that is a number, such as 12.10, a cell of a table would be read as 12.1.
    values = np.array([prompt.encode()], object)
    encoded = encoder.encode(values).array
    start = encoded[:, : max(1, int((encoded != task.padding).sum()))]
    assert model.writer is not None
    found = model.writer.write(start, tokens, drawn(temperature, top_p, np.random.default_rng(seed)))
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


def _check(prompt: str, tokens: int, temperature: float, top_p: float, seed: int) -> None:
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

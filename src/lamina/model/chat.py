"""Conversations with a sealed model; NumPy and ONNX Runtime only."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina.errors import InputError
from lamina.modalities._conversation import Message, written_out
from lamina.model.decoding import Pick, drawn
from lamina.model.write import check, task_of, write_with

if TYPE_CHECKING:
    from lamina.model.runtime import Model

Array = np.ndarray[Any, Any]

TRIES = 4
"""Answers that are drawn, until one says anything."""


class Chat:
    """A conversation with a model that learned to write from conversations (`--task write`).

    The same seed and the same messages give the same answers. Of a conversation that is longer than the model reads, it
    remembers the last messages.

    Args:
        tokens: of an answer, at most.
        temperature, top_p, seed: as of `lamina.model.write.write`.

    Attributes:
        messages: what was said, in order.
        person, answering: the names of the two, as in the conversations that the model learned from.

    Raises:
        InputError: the model does not write, or not conversations; or a number is out of range.
    """

    def __init__(
        self, model: Model, tokens: int = 80, temperature: float = 0.8, top_p: float = 0.95, seed: int = 0
    ) -> None:
        task, self._encoder = task_of(model)
        check("", tokens, temperature, top_p, seed)
        if not task.speakers:
            raise InputError(
                "The model has not learned from conversations.",
                where=model.where,
                fix="Train one on a .jsonl or .parquet file with a column of lists of messages, each with a role and "
                "its content: lamina train talks.jsonl --task write. To go on with a text, use lamina write.",
            )
        self.person, self.answering = task.speakers
        self.messages: list[Message] = []
        self._model, self._task, self._tokens = model, task, tokens
        self._pick = drawn(temperature, top_p, np.random.default_rng(seed))

    def say(self, text: str) -> str:
        """The model's answer to what the person says; "" where it has none.

        Raises:
            InputError: nothing is said, or it is no text in UTF-8.
        """
        check(text, 1, 0.0, 1.0, 0)
        said = " ".join(text.split())
        if not said:
            raise InputError("Nothing is said.", fix="Write a message.")
        self.messages.append(Message(self.person, said))
        prompt = self._remembered()
        answer = next(filter(None, (self._answered(prompt) for _ in range(TRIES))), "")
        if answer:
            self.messages.append(Message(self.answering, answer))
        return answer

    def _remembered(self) -> str:
        """The last messages, as many as leave room for an answer, and whose turn it is."""
        room = max(self._encoder.length - self._tokens, self._encoder.length // 2)
        turn = f"{self.answering}:"
        for first in range(len(self.messages)):
            prompt = f"{written_out(self.messages[first:])}\n{turn}"
            if self._encoder.counts([prompt])[0] <= room:
                return prompt
        # Of a message that is too long, the encoder reads the end.
        return f"{self.messages[-1]}\n{turn}"

    def _answered(self, prompt: str) -> str:
        """The rest of the line."""
        line = _Line(self._pick, self._task.end, self._text)
        return write_with(self._model, prompt, self._tokens, line).split("\n", 1)[0].strip()

    def _text(self, tokens: list[int]) -> str:
        return str(self._task.decode(np.array([tokens], np.int32))[""][0])


class _Line:
    """Picks tokens as `pick` does, and the end after the first that ends a line."""

    def __init__(self, pick: Pick, end: int, text: Callable[[list[int]], str]) -> None:
        self._pick, self._end, self._text = pick, end, text
        self._taken: list[int] = []

    def __call__(self, logits: Array) -> Array:
        if self._taken and "\n" in self._text(self._taken):
            return np.full(len(logits), self._end, np.int32)
        token = self._pick(logits)
        self._taken.append(int(token[0]))
        return token

"""What an explanation explains: one number about one row's answer, and what the model gives for changed rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError, nearest
from lamina.model.answers import plain
from lamina.model.runtime import Model
from lamina.tasks import LaidOut

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Question:
    """The quantity of one target that is followed while the input is changed.

    Attributes:
        target: the target's name.
        suffix: the decoded column that holds the quantity: "" for a number, ".p.CLASS" for a class.
        text: what it is, for a person: "probability of yes", "price".
        answer: what the model answers to the unchanged row.
    """

    target: str
    suffix: str
    text: str
    answer: Json

    def values(self, model: Model, encoded: Mapping[str, Array]) -> Array:
        """The quantity for each encoded row, float64 [row]."""
        return self.read(model, model.outputs(encoded))

    def read(self, model: Model, outputs: Mapping[str, Array]) -> Array:
        """The quantity from the network's outputs, float64 [row]."""
        return np.asarray(model.tasks[self.target].decode(outputs[self.target])[self.suffix], dtype=np.float64)


def question(model: Model, target: str, encoded: Mapping[str, Array]) -> Question:
    """For a number the number; for classes the probability of the class answered; for sets of the likeliest label; for
    anomalies the score; for actions the probability or value of the one chosen.

    Args:
        encoded: the row, as arrays [1, ...].

    Raises:
        InputError: there is no such target, or its answer holds no number that could be followed.
    """
    if target not in model.tasks:
        raise InputError(f"The model has no target {target!r}.", fix=nearest(target, model.tasks))
    if isinstance(model.tasks[target], LaidOut):
        raise InputError(
            f"The answer {target!r} has very many parts, of which no single number can be explained.",
            where=model.where,
            fix="Look at the answers beside the pictures in the report of its run.",
        )
    decoded = model.tasks[target].decode(model.outputs(encoded)[target])
    answer = plain(decoded[""][0])
    if decoded[""].dtype.kind == "f":
        return Question(target, "", target, answer)
    if ".score" in decoded:
        return Question(target, ".score", "how strange the row is", answer)
    for axis in (f".value.{answer}", ".0"):
        if axis in decoded:
            text = f"expected return of {target} {answer}" if axis != ".0" else f"{target}, the first of its numbers"
            return Question(target, axis, text, answer)
    names = [name for name in decoded if name.startswith(".p.")]
    if not names:
        raise InputError(
            f"The answer {target!r} is a vector, of which no single number can be explained.",
            where=model.where,
            fix="Look at what is alike instead: lamina search MODEL DATA QUERY",
        )
    chosen = f".p.{answer}"
    if chosen not in names:
        chosen = max(names, key=lambda name: float(decoded[name][0]))
    return Question(target, chosen, f"probability of {chosen.removeprefix('.p.')}", answer)

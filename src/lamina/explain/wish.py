"""Another answer that is wished for: a class, or a number that is at least or at most so much."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lamina.data.schema import Json
from lamina.errors import InputError, nearest
from lamina.modalities._canonical import canonical_value
from lamina.model.answers import plain
from lamina.model.runtime import Model
from lamina.tasks import LaidOut

Array = np.ndarray[Any, Any]

BOUND = re.compile(r"\s*(>=|<=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")
SMALLEST = 1e-300
"""Probability whose logarithm is taken instead of that of 0."""


@dataclass(frozen=True)
class Wish:
    """What one target's answer is to be.

    Attributes:
        label: the class; None for a number.
        sign: 1 for "at least `bound`", -1 for "at most".
    """

    target: str
    label: str | None = None
    sign: int = 1
    bound: float = 0.0

    @property
    def text(self) -> str:
        """For a person: "Status = good", "price >= 200"."""
        if self.label is not None:
            return f"{self.target} = {self.label}"
        return f"{self.target} {'>=' if self.sign > 0 else '<='} {self.bound:g}"

    @property
    def quantity(self) -> str:
        """What is told of an answer beside it: "probability of good"; of a number its target's name."""
        return self.target if self.label is None else f"probability of {self.label}"

    def judge(self, model: Model, encoded: Mapping[str, Array]) -> tuple[Array, Array]:
        """(is the wish fulfilled, how near it is, more is nearer) for each encoded row: (bool [row], float64 [row])."""
        decoded = self._decoded(model, encoded)
        if self.label is None:
            near = self.sign * (decoded[""].astype(np.float64) - self.bound)
            return near >= 0, near
        others = [values for name, values in decoded.items() if name.startswith(".p.") and name != f".p.{self.label}"]
        # Log-odds against the likeliest other class: probabilities themselves are alike near 0.
        own, other = decoded[f".p.{self.label}"], np.max(others, axis=0)
        near = np.log(np.maximum(own, SMALLEST)) - np.log(np.maximum(other, SMALLEST))
        return decoded[""] == self.label, near

    def told(self, model: Model, encoded: Mapping[str, Array]) -> tuple[Json, float]:
        """The answer to one row, and its number or the probability of the class wished for."""
        decoded = self._decoded(model, encoded)
        value = decoded["" if self.label is None else f".p.{self.label}"][0]
        return plain(decoded[""][0]), float(value)

    def _decoded(self, model: Model, encoded: Mapping[str, Array]) -> Mapping[str, Array]:
        return model.tasks[self.target].decode(model.outputs(encoded)[self.target])


def wish(model: Model, target: str, to: Any, encoded: Mapping[str, Array]) -> Wish:
    """The wish that a person gave for an encoded row [1, ...].

    Raises:
        InputError: there is no such target or class, the answer is of another kind, or the wish is fulfilled already.
    """
    if not target:
        if len(model.targets) > 1:
            raise InputError(
                f"The model answers {', '.join(model.targets)}: which of them is to change?",
                fix=f"Name it: --target {model.targets[0]}",
            )
        target = model.targets[0]
    if target not in model.tasks:
        raise InputError(f"The model has no target {target!r}.", where="--target", fix=nearest(target, model.tasks))
    task = model.tasks[target]
    decoded = {} if isinstance(task, LaidOut) else task.decode(model.outputs(encoded)[target])
    answer = decoded.get("")
    if answer is not None and answer.ndim == 1 and answer.dtype.kind == "f":
        found = _bound(target, to, float(answer[0]))
    elif answer is not None and f".p.{answer[0]}" in decoded:
        labels = {name.removeprefix(".p."): float(values[0]) for name, values in decoded.items() if name[:3] == ".p."}
        found = _class(target, to, labels, str(answer[0]))
    else:
        raise InputError(
            f"The answer {target!r} is neither one class nor one number, so no other one can be wished for.",
            where=model.where,
            fix="Leave --change out.",
        )
    if found.judge(model, encoded)[0][0]:
        raise InputError(
            f"The answer is {plain(answer[0])} already: {found.text} is fulfilled.", where="--to", fix="Wish for more."
            if found.label is None
            else "Name another class.",
        )  # fmt: skip
    return found


def _bound(target: str, to: Any, now: float) -> Wish:
    match = BOUND.fullmatch(to) if isinstance(to, str) else None
    if match is None:
        said = "Nothing is said of what it is to be" if to is None else f"{str(to)[:100]!r} is no bound"
        raise InputError(
            f"The answer {target!r} is a number, now {now:.6g}. {said}.",
            where="--to",
            fix='Give --to ">= NUMBER" or --to "<= NUMBER", with the quotes, '
            f'e.g. --to ">= {now + abs(now) / 10:.4g}".',
        )
    return Wish(target, None, 1 if match[1] == ">=" else -1, float(match[2]))


def _class(target: str, to: Any, labels: Mapping[str, float], now: str) -> Wish:
    if to is None:
        others = [label for label in labels if label != now]
        if not others:
            raise InputError(f"{target!r} has no class but {now!r}.", fix="Leave --change out.")
        return Wish(target, max(others, key=lambda label: labels[label]))
    label = str(to) if str(to) in labels else canonical_value(to) or ""
    if label not in labels:
        raise InputError(f"{target!r} has no class {str(to)[:100]!r}.", where="--to", fix=nearest(label, labels))
    return Wish(target, label)

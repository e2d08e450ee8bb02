"""Which of a few classes, known by a few examples each? The answer is a label with its probability."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.modalities import Encoded, Recognition
from lamina.tasks import Score, classify, embed
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._calibrate import temperature
from lamina.tasks._few_examples import WAYS, held_out, keep, log_probabilities, unit
from lamina.tasks._scores import Scorer

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

ADAPTED = "lamina few-shot MODEL EXAMPLES"
"""No training asks for this task: that command puts it on top of a sealed encoder."""
MOST_CLASSES = 1000
MOST_MEMBERS, MOST_NUMBERS = 20_000, 8_000_000
"""Examples, and numbers of their vectors, that a sealed file keeps at most."""


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def fits(way: str, examples: int, classes: int, size: int) -> bool:
    """Whether what the way remembers is small enough to be sealed."""
    members = examples if way == "neighbors" else classes
    return members <= MOST_MEMBERS and members * (size + 1) <= MOST_NUMBERS


@dataclass(frozen=True)
class Task:
    """One answer out of `labels`, by the vectors of a few examples; outputs are embeddings, [row, size].

    Attributes:
        name: the column of the labels.
        size: numbers of a vector.
        way: how examples are compared with: one of `WAYS`.
        labels: canonical text of each class.
        counts: examples of each class.
        kept: float32 bytes (little-endian) of what the way remembers, see `_few_examples.keep`.
        codes: the class of each remembered example ("neighbors" only).
        scale: temperature that divides the logits: the one of least log loss on examples left out.
    """

    task: ClassVar[str] = "few_shot"

    name: str
    size: int
    way: str
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    kept: bytes
    codes: tuple[int, ...] = ()
    scale: float = 1.0

    @property
    def width(self) -> int:
        return self.size

    @classmethod
    def from_examples(
        cls, name: str, way: str, vectors: Array, codes: Array, labels: tuple[str, ...]
    ) -> tuple[Self, Array]:
        """Remember examples, and choose the temperature on examples left out (from 20 on; below it stays 1).

        Args:
            vectors: [row, size], of any length.
            codes: int64 [row], places in `labels`; every label has an example.

        Returns:
            (The task, bool [row that was left out]: whether it was answered rightly without itself).
        """
        vectors, classes = unit(vectors), len(labels)
        rows, logits = held_out(way, vectors, codes, classes)
        kept = np.ascontiguousarray(keep(way, vectors, codes, classes), "<f4")
        task = cls(
            name,
            vectors.shape[1],
            way,
            labels,
            tuple(np.bincount(codes, minlength=classes).tolist()),
            kept.tobytes(),
            tuple(codes.tolist()) if way == "neighbors" else (),
            temperature(logits, codes[rows]),
        )
        return task, logits.argmax(axis=1) == codes[rows]

    @cached_property
    def classes(self) -> classify.Task:
        """The same question as one about log-probabilities: probabilities, answers and scores are its own."""
        return classify.Task(self.name, self.labels, self.counts, "accuracy", scale=self.scale)

    @cached_property
    def _members(self) -> Array:
        return np.frombuffer(self.kept, "<f4").reshape(-1, self.size + (self.way == "probe"))

    def logits(self, output: Array) -> Array:
        """float64 [row, class], before the temperature."""
        codes = np.asarray(self.codes, np.int64)
        return log_probabilities(self.way, self._members, codes, unit(output), len(self.labels))

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, size] to [row, size] of length 1, as the encoder was exported."""
        return embed.Task(self.name, self.size).combine(output)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": label, ".p": probability of the answer, ".p.CLASS": probability of each class}."""
        return self.classes.decode(self.logits(output))

    def encode(self, values: Values, root: Path | None = None) -> Encoded:
        """int64 [row], the class's number; -1 and an error where it is missing or not among the examples."""
        return self.classes.encode(values, root)

    def scores(self, output: Array, target: Array) -> dict[str, Score]:
        """As those of `classify`; accuracy first."""
        return self.classes.scores(self.logits(output), target)

    def scorer(self, output: Array, target: Array, only: str = "") -> Scorer:
        """The scores as a function of how often each row counts."""
        return self.classes.scorer(self.logits(output), target, only)

    def row_losses(self, output: Array, target: Array) -> Array:
        """Minus log-probability of the true class, [row]."""
        return self.classes.row_losses(self.logits(output), target)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two networks' outputs are the same, and the labels answered."""
        one, other = self.logits(before), self.logits(after)
        leaders = np.sort(one, axis=1)[:, -2:]
        return agreement(before, after, one.argmax(axis=1) == other.argmax(axis=1), leaders[:, 1] - leaders[:, 0])

    def state(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "size": self.size,
            "way": self.way,
            "labels": list(self.labels),
            "counts": list(self.counts),
            "kept": base64.b64encode(self.kept).decode("ascii"),
            "codes": list(self.codes),
            "scale": self.scale,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        task = cls(
            str(state["name"]),
            int(state["size"]),
            str(state["way"]),
            tuple(str(label) for label in state["labels"]),
            tuple(int(count) for count in state["counts"]),
            base64.b64decode(state["kept"], validate=True),
            tuple(int(code) for code in state["codes"]),
            float(state["scale"]),
        )
        task._check()
        return task

    def _check(self) -> None:
        """Raises ValueError where the parts do not fit together, or are more than is ever sealed."""
        classes, members = len(self.labels), len(self.codes) if self.way == "neighbors" else len(self.labels)
        if self.way not in WAYS or not 2 <= len(set(self.labels)) == classes <= MOST_CLASSES:
            raise ValueError(f"{self.way[:50]!r} with {classes} labels")
        if len(self.counts) != classes or min(self.counts) < 1:
            raise ValueError("the examples of the classes are not counted")
        if self.size < 1 or members < 1 or not fits(self.way, members, classes, self.size):
            raise ValueError(f"{members} vectors of {self.size} numbers")
        if len(self.kept) != 4 * members * (self.size + (self.way == "probe")):
            raise ValueError("the vectors are not of the size they declare")
        if not np.isfinite(self._members).all() or not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError("numbers that are not finite")
        if self.codes and not 0 <= min(self.codes) <= max(self.codes) < classes:
            raise ValueError("an example of no class")

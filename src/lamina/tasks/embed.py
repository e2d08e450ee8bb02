"""What is it like? The answer is a vector: what is alike lies near each other; learned without any answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.modalities import Recognition
from lamina.tasks._agreement import Agreement, agreement
from lamina.tasks._directions import directions
from lamina.tasks._options import check_names

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

UNLABELLED = "embedding"
"""The task needs no target; its answer is called so."""
OPTIONS: tuple[str, ...] = ()


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for any option: there are none."""
    check_names(options, OPTIONS, UNLABELLED)


@dataclass(frozen=True)
class Task:
    """A vector of length 1 for each row; outputs are [row, size], as long already.

    Attributes:
        name: the answer's name.
        size: numbers of a vector.
    """

    task: ClassVar[str] = "embed"

    name: str
    size: int

    @property
    def width(self) -> int:
        return self.size

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, size] to [row, size] of length 1."""
        return directions(output)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": list of `size` numbers}."""
        vectors = np.empty(len(output), dtype=object)
        vectors[:] = [[float(number) for number in vector] for vector in np.asarray(output)]
        return {"": vectors}

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two networks' outputs are the same."""
        return agreement(before, after, np.ones(len(before), dtype=bool))

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        return cls(str(state["name"]), int(state["size"]))

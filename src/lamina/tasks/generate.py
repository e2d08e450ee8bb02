"""What could it look like? The answer is a new picture, from noise; learned from pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.modalities import Recognition
from lamina.tasks._agreement import LARGEST, Agreement, agreement
from lamina.tasks._options import check_judge, check_names

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

UNLABELLED = "picture"
"""The task needs no target; its answer is called so."""
LATER = "generate"
STRATIFIED = True
OPTIONS = ("judge",)
NOISE = "noise"
"""The sealed model's input that a picture is made from."""
MOST_SIDE, MOST_CHANNELS = 1024, 4
LEVELS = 255


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an unknown option, or a number of steps that is none."""
    check_names(options, OPTIONS, "generate")
    check_judge(options)


@dataclass(frozen=True)
class Task:
    """A picture for each row; outputs are [row, height * width * channels] from 0 to 1.

    Attributes:
        name: the answer's name.
        shape: (height, width, channels).
        label: the input that says of which class a picture is to be; "" where there are no classes.
        classes: the classes' names.
    """

    task: ClassVar[str] = "generate"

    name: str
    shape: tuple[int, int, int]
    label: str = ""
    classes: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    def combine(self, output: Tensor) -> Tensor:
        """[row, member, width] from -1 to 1 to [row, width] from 0 to 1."""
        return (output.float().mean(dim=1) + 1) / 2

    def pictures(self, output: Array) -> Array:
        """uint8 [row, height, width, channel]."""
        levels = np.rint(np.asarray(output, np.float64).clip(0, 1) * LEVELS)
        found: Array = levels.astype(np.uint8).reshape(len(output), *self.shape)
        return found

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": the picture as lists of lists, height x width x channel, from 0 to 1}."""
        found = np.empty(len(output), dtype=object)
        for row, values in enumerate(np.asarray(output, np.float64).clip(0, 1).round(4)):
            found[row] = values.reshape(self.shape).tolist()
        return {"": found}

    def agreement(self, before: Array, after: Array) -> Agreement:
        """How nearly two networks' pictures are the same: of whole levels, where rounding falls on an edge, one."""
        one, other = (np.asarray(values, np.float64).clip(0, 1) * LEVELS for values in (before, after))
        same = np.abs(one - other).max(axis=1, initial=0.0) <= LEVELS * LARGEST
        return agreement(np.asarray(before), np.asarray(after), same)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        height, width, channels = (int(size) for size in state["shape"])
        if not (1 <= height <= MOST_SIDE and 1 <= width <= MOST_SIDE and 1 <= channels <= MOST_CHANNELS):
            raise ValueError(f"pictures of {height} x {width} x {channels}")
        return cls(
            str(state["name"]), (height, width, channels), str(state["label"]), tuple(map(str, state["classes"]))
        )

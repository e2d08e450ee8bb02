"""How would it look as one of the others? A picture of one class is turned into one that looks like another class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from lamina.data.schema import Field, Json, Values
from lamina.errors import InputError
from lamina.modalities import Recognition
from lamina.modalities._canonical import canonical
from lamina.modalities._frame import Frame
from lamina.tasks import Layout, _pictures
from lamina.tasks._agreement import Agreement
from lamina.tasks._options import check_judge, check_names

if TYPE_CHECKING:
    from torch import Tensor

Array = np.ndarray[Any, Any]

UNLABELLED = "restyled"
"""The task needs no target, for no picture has a right answer; its answer is called so."""
LATER = "generate"
STRATIFIED = True
OPTIONS = ("source", "result", "judge")


def suits(field: Field, description: Mapping[str, Json]) -> Recognition | None:
    """No column asks for it."""
    return None


def check_options(options: Mapping[str, Json]) -> None:
    """Raises InputError for an unknown option, classes that are not said or the same, or steps that are none."""
    check_names(options, OPTIONS, "restyle")
    check_judge(options)
    classes_asked(options)


def classes_asked(options: Mapping[str, Json]) -> tuple[str, str]:
    """(Class of the pictures that are turned, class that they are to look like), as the labels' texts are written.

    Raises:
        InputError: one of them is not said, or they are the same.
    """
    found = []
    for name, what in (("source", "of which class the pictures are"), ("result", "which class they are to look like")):
        text = canonical(np.array([options.get(name)], dtype=object))[0]
        if text is None:
            raise InputError(
                f"Nothing says {what}.",
                where=f"task.options.{name}",
                fix=f"Name both classes, e.g. --set task.{UNLABELLED}.source=summer task.{UNLABELLED}.result=winter",
            )
        found.append(str(text))
    if found[0] == found[1]:
        raise InputError(
            f"Pictures of {found[0]!r} are to look like {found[1]!r}, as they do already.",
            where="task.options.result",
            fix="Name two different classes.",
        )
    return found[0], found[1]


@dataclass(frozen=True)
class Task:
    """A picture; outputs are its values from 0 to 1, [row, channel * height * width].

    Attributes:
        name: the answer's name.
        source: the input field.
        height, width_, channels, resize: of the pictures, as the modality "image" has them.
        given: the class that it learned to turn.
        wanted: the class that a turned picture is to look like.
    """

    task: ClassVar[str] = "restyle"
    unscaled: ClassVar[bool] = False

    name: str
    source: str
    height: int
    width_: int
    channels: int
    resize: str
    given: str
    wanted: str

    @property
    def layout(self) -> Layout:
        """Channel, height, width."""
        return Layout("picture", (self.channels, self.height, self.width_))

    @property
    def width(self) -> int:
        return self.layout.size

    @property
    def frame(self) -> Frame:
        """How the pictures that are put in are encoded."""
        return Frame(self.height, self.width_, self.resize)

    @property
    def window(self) -> tuple[int, int]:
        """Pictures are turned as a whole, for what a thing is shows in the whole alone."""
        return (0, 0)

    def combine(self, output: Tensor) -> Tensor:
        """Mean over members."""
        return output.float().mean(dim=1)

    def averaged(self, output: Array) -> Array:
        """float32 [row, channel, height, width] from 0 to 1: colors may be interpolated."""
        return _pictures.maps(output, self.layout.shape)

    def decode_map(self, values: Array) -> dict[str, Any]:
        """{"": uint8 [height, width(, 3)]} from such colors, at any size."""
        return _pictures.picture(values)

    def pictures(self, output: Array) -> Array:
        """uint8 [row, height, width, channel] from the outputs."""
        return _pictures.pixels(output, self.layout.shape)

    def decode(self, output: Array) -> dict[str, Values]:
        """{"": uint8 arrays [height, width], or [height, width, 3] in color}."""
        return _pictures.decoded(output, self.layout.shape)

    def agreement(self, before: Array, after: Array) -> Agreement:
        """Two networks answer alike where no value of a picture differs by half a grey level."""
        return _pictures.alike(before, after)

    def state(self) -> dict[str, Json]:
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Json]) -> Self:
        return cls(**state)

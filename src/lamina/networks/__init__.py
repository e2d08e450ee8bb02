"""The contract of a network family: one file here.

A module `lamina/networks/NAME.py` offers

- `ACCEPTS`: the feature kinds it reads, e.g. `("image", "spectrogram")`;
- `Options`: a frozen dataclass of its sizes with defaults (width, depth, dropout, ...);
- `build(features, options) -> Network`: features by field name, all of kinds in ACCEPTS. A family for
  tables takes any number of fields at once; the others take exactly one;
- `TRIMS`, where it computes nothing for padding that all rows of a batch share: a tuple of feature kinds;
- `GIVES`, where it can give more than a vector: a tuple of "pyramid" and "sequence".

The network goes from encoded inputs (a dict of tensors by field name, as stored: images are uint8
[batch, height, width, channel]) to a vector; scaling and casting of inputs are inside it, so that the
exported graph needs nothing else. Heads and the fusion of several networks are in `assembly`.

Heads for answers that are no vector read more than that: a network that is `Pyramidal` gives maps of several sizes,
one that is `Stepwise` a vector for every step of a sequence. One that is `Local` gives beside its vector what it knows
of each place, for methods that ask what stands there.

A network that is `Informed` besides looks at training rows once before its first step; one that is `Remembering`
is told which values go together in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor, nn

ShapeKind = Literal["vector", "sequence", "map"]


@dataclass(frozen=True)
class OutputShape:
    """What a network's forward gives: always [batch, member, width]; member is 1 for most.

    Attributes:
        width: the last axis.
        members: how many answers of an implicit ensemble.
    """

    width: int
    members: int = 1


class Network(Protocol):
    """A torch.nn.Module with these besides."""

    output: OutputShape

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, member, width] from the batch's encoded inputs."""
        ...

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Its parts from input to output: for gradual unfreezing, layer-wise rates and `layer(name)`."""
        ...


@dataclass(frozen=True)
class Level:
    """One map of a pyramid.

    Attributes:
        channels: of the map.
        stride: pixels of the encoded picture from one place to the next, about.
        height, width: of the map.
    """

    channels: int
    stride: int
    height: int
    width: int


@runtime_checkable
class Pyramidal(Protocol):
    """A network that can give maps of several sizes in place of its vector."""

    levels: tuple[Level, ...]
    """The finest first. Stride 1, where there is such a level, is the standardised picture itself."""

    def pyramid(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """[batch, channel, height, width] for each level."""
        ...

    def without_vector(self) -> None:
        """Let go of the parts that only `forward` uses, as nothing would teach them."""
        ...


@dataclass(frozen=True)
class Steps:
    """The sequence that a network gives.

    Attributes:
        width: of every step's vector.
        number: of steps, padding among them.
        stride: steps of the encoded input from one to the next.
    """

    width: int
    number: int
    stride: int


@runtime_checkable
class Stepwise(Protocol):
    """A network that can give a vector for every step of a sequence in place of its one vector."""

    steps: Steps

    def sequence(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """[batch, step, width]; steps of padding hold 0."""
        ...

    def without_vector(self) -> None:
        """Let go of the parts that only `forward` uses, as nothing would teach them."""
        ...


@dataclass(frozen=True)
class Places:
    """Where a network knows something of.

    Attributes:
        width: of every place's vector.
        grid: (rows, columns) over a picture, (steps,) over a text, sound or series: equal parts of the field, but of a
            text the tokens that are read, one by one from the first.
    """

    width: int
    grid: tuple[int, ...]


@runtime_checkable
class Local(Protocol):
    """A network of one field that can tell, beside its vector, what it knows of each place."""

    places: Places

    def local(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What `forward` gives, and [batch, *grid, width]; steps at the end may lack that are padding in every row."""
        ...


@runtime_checkable
class Informed(Protocol):
    """A network that starts from what the training rows tell at one look, if it starts from scratch."""

    def inform(self, rows: Iterable[tuple[Mapping[str, Tensor], Tensor]]) -> None:
        """Set weights to start from; no chance is involved.

        Args:
            rows: batches of encoded inputs and of where the loss pulls the outputs, [batch, output]: like the wanted
                answers, with a mean of 0 over all rows and squares that sum to 1 over the outputs.
        """
        ...


@runtime_checkable
class Remembering(Protocol):
    """A network that knows which values of its fields went together in the training rows, whatever their answers."""

    def remember(self, rows: Iterable[Mapping[str, Tensor]]) -> None:
        """Keep that in buffers, whose shapes do not depend on the rows; no chance is involved.

        Args:
            rows: batches of encoded inputs, all training rows once.
        """
        ...

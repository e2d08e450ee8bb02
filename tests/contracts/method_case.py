"""What a method's file in `method_cases` offers as `CASE`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lamina.learn.batch import Source
from lamina.learn.loop import Learns


@dataclass(frozen=True)
class Case:
    """A method's smallest solvable case.

    Attributes:
        make: from a seed to the method and its batches.
        distance: how far it is from solved; 0 is solved.
        solved: the distance at which the case counts as solved; at first it is at least four times as far.
        steps: enough of them to get there.
        constant: weights that no step changes, by name.
    """

    make: Callable[[int], tuple[Learns, Source]]
    distance: Callable[[Learns], float]
    solved: float
    steps: int
    constant: frozenset[str] = field(default_factory=frozenset)

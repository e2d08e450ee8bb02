"""Steps that are taken to see how they go, and leave no trace."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from lamina.choose import hardware
from lamina.learn import checkpoint
from lamina.learn.engine import Engine
from lamina.learn.finder import Batches

AGREEING = 1.5
"""So many times less may the faster way gain than in an earlier run, or its steps take longer, and is taken again."""
ENOUGH, TRIALS = 0.1, 2
"""Seconds of steps that tell whether it still holds (one step, where steps are slow), and how often they are taken
where they do not: a machine that does something else for a moment is no other machine."""


def holds(now: float, earlier: float) -> bool:
    """Is what was `earlier` times as fast as something else still about as much faster, or more?

    >>> holds(1.5, 2.0), holds(4.0, 2.0), holds(1.2, 2.0)
    (True, True, False)
    """
    return now * AGREEING >= earlier


class Tried(Protocol):
    """What takes steps on trial."""

    engine: Engine

    @property
    def method(self) -> Any: ...


class Stepping(Tried, Protocol):
    """What takes steps on batches."""

    @property
    def source(self) -> Batches: ...


class Steps:
    """Steps that a learner really takes, on one batch after the other.

    Sequences differ in length, and so steps on them in cost: what is compared takes the same batches, `again`.
    """

    def __init__(self, learner: Stepping) -> None:
        self._learner = learner
        self.again()

    def again(self, number: int = 0) -> None:
        """The next step is on the batch of this number."""
        self._source = self._learner.source
        self._batches = self._source.batches(number)
        # Drawn already: the first batch after a jump takes longer, for the rows of its epoch are put into order.
        self._drawn = [next(self._batches)]

    def __call__(self) -> None:
        if self._source is not self._learner.source:
            # Batches of another size.
            self.again()
        _, batch = self._drawn.pop() if self._drawn else next(self._batches)
        self._learner.method.update(batch, self._learner.engine)


def nowhere(number: int = 0) -> None:
    """In place of `Steps.again` where it does not matter which batches are taken."""


@contextmanager
def trial(learner: Tried) -> Iterator[None]:
    """Steps that are taken in here leave no trace: the rates are 0, and method and draws are put back afterwards.

    They are computed as those at the end of training are, when networks that thaw learn as a whole: a step takes most
    time and memory then.
    """
    saved = checkpoint.pack({"method": learner.method.state(), "random": checkpoint.random_state()})
    for optimizer in learner.method.optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    progress, learner.engine.progress = learner.engine.progress, 1.0
    try:
        with hardware.products("high"):
            yield
    finally:
        learner.engine.progress = progress
        state = checkpoint.unpack(*saved)
        learner.method.restore(state["method"])
        checkpoint.restore_random_state(state["random"])
